"""What usage costs: times public list price, exact, with what only the cost reports know."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from convergence_sandbox.providers.anthropic import prices
from convergence_sandbox.providers.anthropic.usage import (
    UsageRow,
    code_execution_hours,
    usage,
    workspaces,
)

_MILLION = Decimal(1_000_000)
_DISCOUNT = Decimal("0.95")
_NAMES = {
    "uncached": "Input Tokens",
    "cache_read": "Input Tokens, Cache Read",
    "write_5m": "Input Tokens, Cache Write (5m)",
    "write_1h": "Input Tokens, Cache Write (1h)",
    "output": "Output Tokens",
}


@dataclass(frozen=True)
class Charge:
    """One priced amount, in USD.

    Attributes:
        list_amount: at list price.
        amount: after the organization's discount, which only token usage has.
    """

    keys: dict[str, str | None]
    requests: int
    list_amount: Decimal
    amount: Decimal


def charges(seed: str, day: date) -> Iterator[Charge]:
    """Everything billed for a day; committed capacity and unpriced models are not."""
    for row in usage(seed, day):
        yield from _tokens(seed, row)
        searches = row.amounts["web_searches"]
        if searches:
            yield _tool(row.keys, "web_search", "Web Search Usage", searches * prices.WEB_SEARCH)
    for workspace_id in workspaces(seed):
        hours = code_execution_hours(seed, workspace_id, day)
        if hours:
            cost = hours * prices.CODE_EXECUTION_HOUR
            yield _tool(
                {"workspace_id": workspace_id}, "code_execution", "Code Execution Usage", cost
            )


def cents(amount: Decimal) -> str:
    """Return USD as in the reports: decimal text in cents, fractions included."""
    text = f"{(amount * 100).normalize():f}"
    whole, _, fraction = text.partition(".")
    return f"{whole}.{fraction:0<2}"


def _tokens(seed: str, row: UsageRow) -> Iterator[Charge]:
    discount = _DISCOUNT if "discount" in seed else Decimal(1)
    for name, rate in (row.variant.rates or {}).items():
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
            yield Charge(keys, row.amounts["requests"], cost, cost * discount)


def _tool(whose: dict[str, str | None], cost_type: str, description: str, cost: Decimal) -> Charge:
    kept = {name: whose.get(name) for name in ("workspace_id", "api_key_id", "organization_id")}
    keys = {**kept, "cost_type": cost_type, "token_type": None, "description": description}
    return Charge(keys, 0, cost, cost)
