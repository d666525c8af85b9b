"""What an effect is: its name, its parameters, when it applies and what it does to the lines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import IntEnum

from convergence_sandbox.providers.bills.line import BillLine, BillSource, View
from convergence_sandbox.providers.bills.parameter import Parameter, Value


class EffectStage(IntEnum):
    """The order in which effects apply; within a stage, in the order in which they were added."""

    CONTENT = 1
    PRICE = 2
    NAME = 3
    CURRENCY = 4
    DELIVERY = 5


@dataclass(frozen=True)
class Context:
    """One effect on one organization's day."""

    source: BillSource
    seed: str
    day: date
    view: View
    parameters: Mapping[str, Value]
    touches: Callable[[BillLine], bool]

    def number(self, name: str) -> Decimal:
        """Return a numeric parameter."""
        return Decimal(self.parameters[name])

    def text(self, name: str) -> str:
        """Return a parameter as text."""
        return str(self.parameters[name])


Apply = Callable[[Sequence[BillLine], Context], list[BillLine]]


@dataclass(frozen=True)
class EffectKind:
    """A named effect.

    Attributes:
        does: one sentence for the list of effects.
        apply: returns the lines after the effect.
        tokens_only: touches lines that count tokens, and no others.
        needs_models: must name the models that it touches.
        counts_reads: depends on how often the bill was requested.
    """

    name: str
    stage: EffectStage
    does: str
    apply: Apply
    parameters: tuple[Parameter, ...] = ()
    tokens_only: bool = False
    needs_models: bool = False
    counts_reads: bool = False


def change_lines(change: Callable[[BillLine, Context], list[BillLine]]) -> Apply:
    """Return an effect that looks at each line by itself; lines it does not touch stay."""

    def apply_change(lines: Sequence[BillLine], context: Context) -> list[BillLine]:
        return [
            changed
            for line in lines
            for changed in (change(line, context) if context.touches(line) else [line])
        ]

    return apply_change
