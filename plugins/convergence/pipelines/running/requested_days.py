"""Parse the days that a run was requested for, and single days from their text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

from convergence.errors import RequestError

MAX_RANGE_DAYS = 366
DATE, START, END = "date", "start_date", "end_date"
FIRST_DAY = date(2000, 1, 1)
LAST_DAY = date(2999, 12, 31)
_ISO_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


def parse_requested_days(params: Mapping[str, Any], *, today: date) -> tuple[date, ...] | None:
    """Return the requested days, newest first; None if none are requested and due days count.

    Args:
        params: `date`, or `start_date` and `end_date`, both included; ISO days in UTC.
        today: the present UTC day.

    Raises:
        RequestError: a param is invalid; the message names it.
    """
    day, start, end = (_parse_param(params, name, today) for name in (DATE, START, END))
    if day is not None:
        if start is not None or end is not None:
            raise RequestError(f"Set either {DATE}, or {START} with {END}, but not both")
        return (day,)
    if start is None and end is None:
        return None
    if start is None or end is None:
        raise RequestError(f"{START if start is None else END} is missing: a range needs both ends")
    if end < start:
        raise RequestError(f"{END} {end} is before {START} {start}")
    count = (end - start).days + 1
    if count > MAX_RANGE_DAYS:
        raise RequestError(
            f"{END}: the range has {count} days; at most {MAX_RANGE_DAYS} are allowed"
        )
    return tuple(end - timedelta(days=back) for back in range(count))


def parse_day(value: object) -> date:
    """Parse a day in the form YYYY-MM-DD; reject timestamps, numbers and ambiguous forms.

    Raises:
        ValueError: what is wrong, as text that follows the name of the field.
    """
    if not (isinstance(value, str) and _ISO_DAY.fullmatch(value)):
        raise ValueError("is not a day in the form YYYY-MM-DD")
    try:
        day = date.fromisoformat(value)
    except ValueError:
        raise ValueError("is not a day of the calendar") from None
    if day < FIRST_DAY:
        raise ValueError(f"is before {FIRST_DAY}; no provider has data that old")
    if day > LAST_DAY:
        raise ValueError(f"is after {LAST_DAY}")
    return day


def _parse_param(params: Mapping[str, Any], name: str, today: date) -> date | None:
    value = params.get(name)
    if value is None:
        return None
    try:
        day = parse_day(value)
    except ValueError as error:
        raise RequestError(f"{name}: {value!r} {error}") from None
    if day > today:
        raise RequestError(f"{name}: {day} is in the future; today is {today} in UTC")
    return day
