"""A day as requests name it."""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated

from pydantic import BeforeValidator

FIRST_DAY = date(2000, 1, 1)
_ISO_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


def _parse(value: object) -> object:
    if value is None or isinstance(value, date):
        return value
    if not (isinstance(value, str) and _ISO_DAY.fullmatch(value)):
        raise ValueError("is not a day written YYYY-MM-DD")
    try:
        day = date.fromisoformat(value)
    except ValueError:
        raise ValueError("is not a day of the calendar") from None
    if day < FIRST_DAY:
        raise ValueError(f"lies before {FIRST_DAY}, where no provider has data")
    return day


Day = Annotated[date, BeforeValidator(_parse)]
"""A UTC day; no timestamps, no numbers, nothing that could be read in two ways."""
