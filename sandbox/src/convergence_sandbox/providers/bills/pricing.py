"""Effects on prices: the same usage is billed at another amount."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

from convergence_sandbox.providers.bills.kind import Context, EffectKind, EffectStage, change_lines
from convergence_sandbox.providers.bills.line import BillLine
from convergence_sandbox.providers.bills.parameter import (
    decimal_parameter,
    integer_parameter,
    text_parameter,
)

AS_PRICE, AS_LINE = "price", "line"
SHOWN_AS = text_parameter("shown_as", AS_PRICE, choices=(AS_PRICE, AS_LINE))
"""`price`: the usual line at another amount; `line`: a line that names the effect."""


def _multiply_amount(line: BillLine, context: Context) -> list[BillLine]:
    return [line.scale(context.number("factor"))]


def _apply_discount(line: BillLine, context: Context) -> list[BillLine]:
    return [replace(line, amount=line.amount * context.number("ratio"))]


def _apply_uplift(line: BillLine, context: Context) -> list[BillLine]:
    raised = line.scale(context.number("factor"))
    if context.text("shown_as") == AS_LINE:
        return [context.source.add_note(raised, "regional")]
    return [raised]


def _raise_long_context(lines: Sequence[BillLine], context: Context) -> list[BillLine]:
    inputs: dict[str, Decimal] = defaultdict(Decimal)
    for line in lines:
        if line.measure not in {None, "output"}:
            inputs[line.row] += line.quantity or 0
    found = []
    for line in lines:
        # A row with fewer tokens than one long request has none.
        possible = inputs[line.row] > context.number("threshold_tokens")
        if not (possible and context.touches(line) and line.quantity):
            found.append(line)
            continue
        name = "output_factor" if line.measure == "output" else "input_factor"
        part = line.take(int(line.quantity * context.number("share")))
        found += _join_parts(line, part, part.scale(context.number(name)), context, "long context")
    return found


def _give_tokens(lines: Sequence[BillLine], context: Context) -> list[BillLine]:
    left = int(context.number("tokens_per_day"))
    found = []
    for line in lines:
        if not (left and context.touches(line) and line.quantity):
            found.append(line)
            continue
        part = line.take(min(left, int(line.quantity)))
        left -= int(part.quantity or 0)
        free = replace(part, amount=Decimal(0), list_amount=Decimal(0))
        found += _join_parts(line, part, free, context, "free")
    return found


def _join_parts(
    line: BillLine, part: BillLine, billed: BillLine, context: Context, note: str
) -> list[BillLine]:
    """Return the line with its part at another price, as one line or as two."""
    rest = line.without(part)
    if context.text("shown_as") == AS_LINE:
        named = context.source.add_note(billed, note)
        return [one for one in (rest, named) if one.quantity]
    return [
        replace(
            line,
            amount=rest.amount + billed.amount,
            list_amount=rest.list_amount + billed.list_amount,
        )
    ]


_FACTOR = decimal_parameter("factor", "1.1", low="0", high="100")

PRICING = (
    EffectKind(
        "regional_uplift",
        EffectStage.PRICE,
        "Processing in one region costs `factor` times the list price.",
        change_lines(_apply_uplift),
        (_FACTOR, SHOWN_AS),
        tokens_only=True,
    ),
    EffectKind(
        "long_context",
        EffectStage.PRICE,
        "`share` of the tokens came in requests above the threshold, at higher prices.",
        _raise_long_context,
        (
            decimal_parameter("share", "0.25", low="0", high="1"),
            decimal_parameter("input_factor", "2", low="0"),
            decimal_parameter("output_factor", "1.5", low="0"),
            integer_parameter("threshold_tokens", 272_000, low=0),
            SHOWN_AS,
        ),
        tokens_only=True,
    ),
    EffectKind(
        "free_tokens",
        EffectStage.PRICE,
        "The first `tokens_per_day` tokens of a day are free.",
        _give_tokens,
        (integer_parameter("tokens_per_day", 1_000_000, low=0), SHOWN_AS),
        tokens_only=True,
    ),
    EffectKind(
        "contract_discount",
        EffectStage.PRICE,
        "The billed amount is `ratio` of the list amount; the list amount stays.",
        change_lines(_apply_discount),
        (decimal_parameter("ratio", "0.9", low="0", high="1"),),
        tokens_only=True,
    ),
    EffectKind(
        "undeclared_factor",
        EffectStage.PRICE,
        "The amount is multiplied by `factor`, for a reason that nothing states.",
        change_lines(_multiply_amount),
        (decimal_parameter("factor", "0.93", low="0", high="100"),),
        needs_models=True,
    ),
)
