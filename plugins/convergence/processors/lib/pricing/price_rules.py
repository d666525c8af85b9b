"""What every line of a price book must keep to, whether it prices a model or a plan's seat."""

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
"""What a line prices; each table has those that its SKUs are told apart by."""
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
"""Columns that a default may not leave empty, where its table has them."""
TIERS = frozenset({"standard", "batch", "flex", "priority", "fast"})
WINDOWS = frozenset({"any", "0-200k", "200k-1M"})
"""Context windows: `any` where the rates do not depend on it."""
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
    """Whether a column holds an amount that is charged."""
    return column.endswith(RATE_SUFFIX) or column in {UNIT_PRICE, SEAT_PRICE}


def faults_of(values: Values) -> list[tuple[str, str]]:
    """Every fault of a line whose cells have their columns' types: (column, what is wrong)."""
    faults = [(name, "must not be empty") for name in REQUIRED if values.get(name, "") is None]
    faults += [
        (name, f"{value} is negative; it must be zero or more")
        for name, value in values.items()
        if isinstance(value, Decimal | int) and value < 0
    ]
    for name, accepted in _CHOICES:
        if values.get(name) not in {None, *accepted}:
            faults.append((name, f"{values[name]!r} is none of {sorted(accepted)}"))
    return faults + _of_money(values) + _of_source(values) or _of_days(values)


def decimal_of(text: str) -> Decimal:
    """An amount that NUMERIC holds exactly.

    Raises:
        ValueError, ArithmeticError: it is none.
    """
    value = Decimal(text)
    if not value.is_finite():
        raise ValueError("it is not finite")
    exponent = value.normalize().as_tuple().exponent
    if isinstance(exponent, int) and -exponent > MAX_DECIMALS:
        raise ValueError(f"more than {MAX_DECIMALS} decimals")
    return value


def day_of(value: Value) -> date:
    """The value of a column of days that is not empty."""
    if not isinstance(value, date):
        raise PriceBookError("A day was expected", value=str(value))
    return value


def _of_money(values: Values) -> list[tuple[str, str]]:
    faults = []
    if all(value is None for name, value in values.items() if is_rate(name)):
        faults.append(("(row)", "no rate at all"))
    if UNIT_PRICE in values and (values[UNIT_PRICE] is None) != (values.get("unit") is None):
        faults.append((UNIT_PRICE, "a price per unit and its unit come together"))
    currency = values.get("currency")
    if currency is not None and not _CURRENCY.fullmatch(str(currency)):
        faults.append(("currency", f"{currency!r} is no ISO 4217 code such as USD"))
    return faults


def _of_source(values: Values) -> list[tuple[str, str]]:
    if str(values.get("source_url") or "https://").startswith("https://"):
        return []
    return [("source_url", "must be a public https address")]


def _of_days(values: Values) -> list[tuple[str, str]]:
    begins, ends = day_of(values["effective_from"]), values["effective_to"]
    if ends is None or day_of(ends) > begins:
        return []
    return [("effective_to", f"{ends} ends the price before it begins on {begins}")]
