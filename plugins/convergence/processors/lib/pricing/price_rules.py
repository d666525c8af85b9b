"""The rules that every line of a price book keeps, whether it prices a model or a plan's seat."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from decimal import Decimal

from convergence.errors import PriceBookError

Value = str | int | Decimal | date | None
Values = Mapping[str, Value]

RATE_SUFFIX = "_per_million"
UNIT_PRICE = "unit_price"
SEAT_PRICE = "price_per_seat"
SKU_COLUMNS = ("model_id", "plan_name", "service_tier", "billing_period", "context_window")
"""Columns that say what a line prices; each table has those that its SKUs differ in."""
REQUIRED = (
    *SKU_COLUMNS,
    "seats",
    SEAT_PRICE,
    "currency",
    "effective_from",
    "effective_basis",
    "price_version",
    "source_url",
    "source_date",
)
"""Columns that a default must fill, where its table has them."""
TIERS = frozenset({"standard", "batch", "flex", "priority", "fast"})
WINDOWS = frozenset({"any", "0-200k", "200k-1M"})
"""Context windows; `any` where the rates do not depend on the window."""
PERIODS = frozenset({"monthly", "annual"})
BASES = frozenset({"announced", "observed"})
MAX_DECIMALS = 9
"""Scale of BigQuery's NUMERIC."""

_CHOICES = (
    ("service_tier", TIERS),
    ("context_window", WINDOWS),
    ("billing_period", PERIODS),
    ("effective_basis", BASES),
)
_CURRENCY = re.compile(r"[A-Z]{3}")


def is_rate(column: str) -> bool:
    """Return whether a column holds an amount that is charged."""
    return column.endswith(RATE_SUFFIX) or column in {UNIT_PRICE, SEAT_PRICE}


def find_row_violations(values: Values) -> list[tuple[str, str]]:
    """Return every violation of a line whose cells have their columns' types: (column, message)."""
    found = [(name, "must not be empty") for name in REQUIRED if values.get(name, "") is None]
    found += [
        (name, f"{value} is negative; it must be zero or more")
        for name, value in values.items()
        if isinstance(value, Decimal | int) and value < 0
    ]
    for name, accepted in _CHOICES:
        if values.get(name) not in {None, *accepted}:
            found.append((name, f"{values[name]!r} is none of {sorted(accepted)}"))
    return found + _check_money(values) + _check_source(values) or _check_days(values)


def parse_decimal(text: str) -> Decimal:
    """Return an amount that NUMERIC holds exactly.

    Raises:
        ValueError, ArithmeticError: the text is no such amount.
    """
    value = Decimal(text)
    if not value.is_finite():
        raise ValueError("it is not finite")
    exponent = value.normalize().as_tuple().exponent
    if isinstance(exponent, int) and -exponent > MAX_DECIMALS:
        raise ValueError(f"more than {MAX_DECIMALS} decimals")
    return value


def require_day(value: Value) -> date:
    """Return the value of a column of days that must not be empty."""
    if not isinstance(value, date):
        raise PriceBookError("The value is not a day", value=str(value))
    return value


def _check_money(values: Values) -> list[tuple[str, str]]:
    found = []
    if all(value is None for name, value in values.items() if is_rate(name)):
        found.append(("(row)", "no rate at all; fill one of the rate columns"))
    if UNIT_PRICE in values and (values[UNIT_PRICE] is None) != (values.get("unit") is None):
        found.append((UNIT_PRICE, "fill both the price per unit and its unit, or neither"))
    currency = values.get("currency")
    if currency is not None and not _CURRENCY.fullmatch(str(currency)):
        found.append(("currency", f"{currency!r} is not an ISO 4217 code such as USD"))
    return found


def _check_source(values: Values) -> list[tuple[str, str]]:
    if str(values.get("source_url") or "https://").startswith("https://"):
        return []
    return [("source_url", "must be a public https address")]


def _check_days(values: Values) -> list[tuple[str, str]]:
    begins, ends = require_day(values["effective_from"]), values["effective_to"]
    if ends is None or require_day(ends) > begins:
        return []
    return [("effective_to", f"{ends} ends the price before it begins on {begins}")]
