"""Amounts of money in requests and responses: decimals, never floats."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Annotated

from pydantic import BeforeValidator

from convergence.warehouse.query import Row

AMOUNT_MESSAGE = "must be a number from 0 to a billion, with at most 9 decimals"
_MAX_AMOUNT = Decimal(10) ** 9
_MAX_DECIMALS = 9  # scale of BigQuery's NUMERIC


def parse_amount(value: object) -> Decimal | None:
    """Return a valid amount of money, None for any other value."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        return None
    try:
        # By way of the text: the decimal of a float would have its binary rounding error.
        amount = Decimal(str(value))
    except InvalidOperation:
        return None
    if not amount.is_finite() or not 0 <= amount <= _MAX_AMOUNT:
        return None
    exponent = amount.normalize().as_tuple().exponent
    return amount if isinstance(exponent, int) and -exponent <= _MAX_DECIMALS else None


def _validate_amount(value: object) -> Decimal:
    amount = parse_amount(value)
    if amount is None:
        raise ValueError(AMOUNT_MESSAGE)
    return amount


Amount = Annotated[Decimal, BeforeValidator(_validate_amount, json_schema_input_type=str | float)]
"""An amount as a number or as decimal text."""


def format_row(row: Row) -> dict[str, object]:
    """Return a row as responses have it: amounts as decimal text."""
    return {
        name: format(value.normalize(), "f") if isinstance(value, Decimal) else value
        for name, value in row.items()
    }
