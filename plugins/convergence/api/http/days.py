"""Types of a day and an instant in requests."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, WithJsonSchema

from convergence.pipelines.running.requested_days import FIRST_DAY, LAST_DAY, parse_day

_ISO_INSTANT = re.compile(
    r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?([Zz]|[+-]\d{2}:\d{2})?", re.ASCII
)
_CENTURIES = "^2[0-9]{3}-"


def _parse_day(value: object) -> object:
    return value if value is None or isinstance(value, date) else parse_day(value)


def _check_instant(value: object) -> object:
    if value is None:
        return value
    if not (isinstance(value, str) and _ISO_INSTANT.fullmatch(value)):
        raise ValueError("must be an RFC 3339 instant such as 2026-01-31T12:00:00Z")
    if not f"{FIRST_DAY.year}" <= value[:4] <= f"{LAST_DAY.year}":
        raise ValueError(f"must be from {FIRST_DAY} to {LAST_DAY}")
    return value


def _add_utc(value: datetime) -> datetime:
    return value if value.tzinfo else value.replace(tzinfo=UTC)


Day = Annotated[
    date,
    BeforeValidator(_parse_day),
    WithJsonSchema({"type": "string", "format": "date", "pattern": _CENTURIES}),
]
"""A UTC day; timestamps and numbers are rejected as ambiguous."""

Instant = Annotated[
    datetime,
    BeforeValidator(_check_instant),
    AfterValidator(_add_utc),
    WithJsonSchema({"type": "string", "format": "date-time", "pattern": _CENTURIES}),
]
"""An instant, in UTC without a zone; numbers are rejected."""
