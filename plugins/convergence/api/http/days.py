"""A day and an instant as requests name them."""

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


def _day(value: object) -> object:
    return value if value is None or isinstance(value, date) else parse_day(value)


def _instant(value: object) -> object:
    if value is None:
        return value
    if not (isinstance(value, str) and _ISO_INSTANT.fullmatch(value)):
        raise ValueError("is not an instant written as in RFC 3339, 2026-01-31T12:00:00Z")
    if not f"{FIRST_DAY.year}" <= value[:4] <= f"{LAST_DAY.year}":
        raise ValueError(f"lies before {FIRST_DAY} or after {LAST_DAY}")
    return value


def _in_utc(value: datetime) -> datetime:
    return value if value.tzinfo else value.replace(tzinfo=UTC)


Day = Annotated[
    date,
    BeforeValidator(_day),
    WithJsonSchema({"type": "string", "format": "date", "pattern": _CENTURIES}),
]
"""A UTC day; no timestamps, no numbers, nothing that could be read in two ways."""

Instant = Annotated[
    datetime,
    BeforeValidator(_instant),
    AfterValidator(_in_utc),
    WithJsonSchema({"type": "string", "format": "date-time", "pattern": _CENTURIES}),
]
"""An instant; without a zone it is UTC. No number is one."""
