"""Anthropic's bill: usage times public list price, exact, with what only the cost reports know."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from decimal import Decimal

from convergence_sandbox.providers.anthropic import prices
from convergence_sandbox.providers.anthropic.usage import (
    UsageRow,
    build_usage,
    code_execution_hours,
    default_workspace,
    organization_id,
    workspaces,
)
from convergence_sandbox.providers.bills.kinds import list_kinds
from convergence_sandbox.providers.bills.line import BillLine, BillSource, Keys, Quantity

_MILLION = Decimal(1_000_000)
_DISCOUNT = Decimal("0.95")
_NAMES = {
    "uncached": "Input Tokens",
    "cache_read": "Input Tokens, Cache Read",
    "write_5m": "Input Tokens, Cache Write (5m)",
    "write_1h": "Input Tokens, Cache Write (1h)",
    "output": "Output Tokens",
}
# How the reports state what an effect names.
_NOTES = {
    "regional": {"inference_geo": "us"},
    "long context": {"context_window": prices.LONG},
}


def price_usage(seed: str, day: date) -> Iterator[BillLine]:
    """Everything billed for a day; committed capacity and unpriced models are not."""
    for at, row in enumerate(build_usage(seed, day)):
        yield from _price_tokens(row, f"messages/{at}")
        searches = row.amounts["web_searches"]
        if searches:
            yield _price_tool(row.keys, "web_search", searches, prices.WEB_SEARCH)
    for workspace_id in workspaces(seed):
        hours = code_execution_hours(seed, workspace_id, day)
        if hours:
            place = {"workspace_id": workspace_id}
            yield _price_tool(place, "code_execution", hours, prices.CODE_EXECUTION_HOUR)


def apply_seed_discount(seed: str, line: BillLine) -> Decimal:
    """Return the amount after the discount of a seed with `discount` in it, on tokens alone."""
    discounted = "discount" in seed and line.keys["cost_type"] == "tokens"
    return line.amount * _DISCOUNT if discounted else line.amount


def cents(amount: Decimal) -> str:
    """Return USD as in the reports: decimal text in cents, fractions included."""
    text = f"{(amount * 100).normalize():f}"
    whole, _, fraction = text.partition(".")
    return f"{whole}.{fraction:0<2}"


def _price_tokens(row: UsageRow, identity: str) -> Iterator[BillLine]:
    rates = row.variant.rates or {}
    for name, rate in rates.items():
        tokens = row.amounts[name]
        if tokens:
            cost = tokens * rate / _MILLION
            batch = ", Batch" if row.variant.service_tier == prices.BATCH else ""
            keys = {
                **row.keys,
                "cost_type": "tokens",
                "token_type": prices.TOKEN_TYPES[name],
                "description": f"{row.variant.display_name} Usage{batch} - {_NAMES[name]}",
            }
            yield BillLine(
                keys,
                row.variant.model,
                prices.TOKEN_TYPES[name],
                cost,
                cost,
                quantity=tokens,
                unit="tokens",
                measure=name,
                row=identity,
                input_rate=rates["uncached"],
                requests=row.amounts["requests"],
            )


def _price_tool(whose: Keys, cost_type: str, quantity: int, price: Decimal) -> BillLine:
    kept = {name: whose.get(name) for name in ("workspace_id", "api_key_id", "organization_id")}
    description = f"{cost_type.replace('_', ' ').title()} Usage"
    keys = {**kept, "cost_type": cost_type, "token_type": None, "description": description}
    cost = quantity * price
    return BillLine(keys, None, cost_type, cost, cost, quantity)


def _add_note(line: BillLine, note: str) -> BillLine:
    """Return the line with a dimension of the reports, or with a note in its description."""
    described = {"description": f"{line.keys['description']}, {note.title()}"}
    return replace(line, keys={**line.keys, **_NOTES.get(note, described)})


def _rename_model(line: BillLine, model: str) -> BillLine:
    return replace(line, model=model, keys={**line.keys, "model": model})


def _make_line(
    seed: str,
    *,
    model: str | None,
    meter: str,
    quantity: Quantity | None,
    unit: str | None,
    amount: Decimal,
) -> BillLine:
    keys = {
        "workspace_id": default_workspace(seed),
        "organization_id": organization_id(seed),
        "model": model,
        "cost_type": meter if model is None else "tokens",
        "token_type": None if model is None else meter,
        "description": f"{model or meter.replace('_', ' ').title()} Usage",
    }
    return BillLine(keys, model, meter, amount, amount, quantity, unit)


BILL = BillSource(
    name="anthropic",
    base_lines=price_usage,
    add_note=_add_note,
    rename_model=_rename_model,
    make_line=_make_line,
    sub_account="workspace_id",
    kinds=list_kinds(),
)
