"""The bill of a day with its effects, and the amount that each effect has caused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, NamedTuple

from convergence_sandbox.providers.bills.effect import Effect
from convergence_sandbox.providers.bills.line import BillLine, BillSource, View

ZERO = Decimal(0)


class BillPlace(NamedTuple):
    """Where an amount stands in a bill."""

    sub_account: str | None
    model: str | None
    service_tier: str | None
    meter: str
    currency: str


class Sums(NamedTuple):
    """What may be added of the lines of one place."""

    amount: Decimal
    list_amount: Decimal
    quantity: Decimal


@dataclass(frozen=True)
class CausedAmount:
    """By how much one effect has changed the lines of one place."""

    effect: Effect
    place: BillPlace
    change: Sums

    def as_json(self, day: date) -> dict[str, Any]:
        """Return the amount as JSON; numbers as text."""
        return {
            "day": day.isoformat(),
            "effect": self.effect.kind.name,
            "effect_id": self.effect.identity,
            **self.place._asdict(),
            **{name: format_number(value) for name, value in self.change._asdict().items()},
        }


@dataclass(frozen=True)
class DayBill:
    """A day's bill: lines without effects, lines with them, and what each effect has caused."""

    base: tuple[BillLine, ...]
    lines: tuple[BillLine, ...]
    caused: tuple[CausedAmount, ...]


def make_bill(
    source: BillSource, org: str, day: date, *, effects: Sequence[Effect], view: View
) -> DayBill:
    """Return an organization's bill of a day as a reader sees it.

    Effects apply by stage, then in their order. What an effect has caused is the difference
    between the lines before and after it, so that the base and all amounts add up to the bill.
    """
    base = tuple(source.base_lines(org, day))
    lines: list[BillLine] = list(base)
    caused: list[CausedAmount] = []
    for effect in sorted(effects, key=lambda one: (one.kind.stage, one.identity)):
        if effect.applies_on(day):
            after = effect.apply_to(lines, day, view)
            changes = compare_lines(source, lines, after)
            caused += [CausedAmount(effect, place, change) for place, change in changes.items()]
            lines = after
    return DayBill(base, tuple(lines), tuple(caused))


def compare_lines(
    source: BillSource, before: Sequence[BillLine], after: Sequence[BillLine]
) -> dict[BillPlace, Sums]:
    """Return by how much each place differs; places that are equal are left out."""
    old, new = sum_lines(source, before), sum_lines(source, after)
    zero = Sums(ZERO, ZERO, ZERO)
    changes = {
        place: Sums(
            *(b - a for a, b in zip(old.get(place, zero), new.get(place, zero), strict=True))
        )
        for place in {**old, **new}
    }
    return {place: change for place, change in changes.items() if any(change)}


def sum_lines(source: BillSource, lines: Sequence[BillLine]) -> dict[BillPlace, Sums]:
    """Return the sums of each place."""
    sums: dict[BillPlace, Sums] = {}
    for line in lines:
        place = BillPlace(
            line.keys.get(source.sub_account),
            line.model,
            line.keys.get("service_tier"),
            line.meter,
            line.currency,
        )
        one = (line.amount, line.list_amount, Decimal(line.quantity or 0))
        known = sums.get(place, (ZERO, ZERO, ZERO))
        sums[place] = Sums(*(a + b for a, b in zip(known, one, strict=True)))
    return sums


def sum_amounts(lines: Sequence[BillLine]) -> dict[str, str]:
    """Return the total by currency, as text."""
    totals: dict[str, Decimal] = {}
    for line in lines:
        totals[line.currency] = totals.get(line.currency, ZERO) + line.amount
    return {currency: format_number(total) for currency, total in sorted(totals.items())}


def format_number(value: Decimal) -> str:
    """Return every digit, without an exponent and without zeros at the end."""
    text = f"{value:f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text) or "0"
