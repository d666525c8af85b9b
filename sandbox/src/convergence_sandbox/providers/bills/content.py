"""Effects on which lines a bill has, how they are named and in which currency."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from convergence_sandbox.providers.bills.kind import Context, EffectKind, EffectStage, change_lines
from convergence_sandbox.providers.bills.line import BillLine
from convergence_sandbox.providers.bills.parameter import decimal_parameter, text_parameter

NONE = "-"


def _add_line(lines: Sequence[BillLine], context: Context) -> list[BillLine]:
    texts = {name: context.text(name) for name in ("model", "meter", "unit")}
    named = {name: None if text == NONE else text for name, text in texts.items()}
    added = context.source.make_line(
        context.seed,
        **named,
        quantity=context.number("quantity") or None,
        amount=context.number("amount"),
    )
    return [*lines, added]


def _drop_line(_line: BillLine, _context: Context) -> list[BillLine]:
    return []


def _rename_model(line: BillLine, context: Context) -> list[BillLine]:
    return [context.source.rename_model(line, context.text("to"))]


def _change_currency(line: BillLine, context: Context) -> list[BillLine]:
    converted = line.scale(context.number("rate"))
    return [replace(converted, currency=context.text("currency").upper())]


CONTENT = (
    EffectKind(
        "extra_line",
        EffectStage.CONTENT,
        "A line that no usage explains; `-` stands for no model or no unit, 0 for no quantity.",
        _add_line,
        (
            text_parameter("meter"),
            text_parameter("model", NONE),
            decimal_parameter("quantity", "0"),
            text_parameter("unit", NONE),
            decimal_parameter("amount"),
        ),
    ),
    EffectKind(
        "missing_lines",
        EffectStage.CONTENT,
        "Lines that are never billed though they were used.",
        change_lines(_drop_line),
    ),
    EffectKind(
        "renamed_model",
        EffectStage.NAME,
        "The bill names the model `to`, an alias, a snapshot or a tuned model; amounts stay.",
        change_lines(_rename_model),
        (text_parameter("to"),),
        needs_models=True,
    ),
    EffectKind(
        "currency",
        EffectStage.CURRENCY,
        "Amounts are in `currency`, at `rate` for one unit of the currency before.",
        change_lines(_change_currency),
        (text_parameter("currency", "EUR"), decimal_parameter("rate", "0.92", low="0")),
    ),
)
