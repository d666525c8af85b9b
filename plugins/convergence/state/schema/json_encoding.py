"""JSON as BigQuery's JSON rows need it: ISO 8601 times, and Decimals as text, never as floats."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any


def encode_row(row: Mapping[str, Any]) -> str:
    """Return a row as JSON text."""
    return json.dumps(row, default=encode_value, ensure_ascii=False, allow_nan=False)


def encode_json(values: Mapping[str, Any]) -> str | None:
    """Return the text of a JSON column; None where there are no values."""
    return json.dumps(dict(values), default=encode_value, sort_keys=True) if values else None


def encode_value(value: object) -> str:
    """Return a value that JSON does not know as text."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return format(value, "f")
    raise TypeError(f"{type(value).__name__} can't be stored in an outbox row")
