"""Which days a run was asked for, and a day as it is written wherever one is asked for."""

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
    """The days asked for, newest first; None when what is due is to be done.

    Args:
        params: `date`, or `start_date` and `end_date`, both included; ISO days in UTC.
        today: the present UTC day.

    Raises:
        RequestError: naming the param at fault.
    """
    day, start, end = (_day(params, name, today) for name in (DATE, START, END))
    if day is not None:
        if start is not None or end is not None:
            raise RequestError(f"{DATE} stands alone: give {DATE}, or {START} with {END}")
        return (day,)
    if start is None and end is None:
        return None
    if start is None or end is None:
        raise RequestError(f"{START if start is None else END} is missing: a range has both ends")
    if end < start:
        raise RequestError(f"{END} {end} lies before {START} {start}")
    count = (end - start).days + 1
    if count > MAX_RANGE_DAYS:
        raise RequestError(f"{END}: the range has {count} days; {MAX_RANGE_DAYS} are allowed")
    return tuple(end - timedelta(days=back) for back in range(count))


def parse_day(value: object) -> date:
    """A day from its text; no timestamp, no number, nothing that could be read in two ways.

    Raises:
        ValueError: what is wrong with it, to follow the name of the field.
    """
    if not (isinstance(value, str) and _ISO_DAY.fullmatch(value)):
        raise ValueError("is not a day written YYYY-MM-DD")
    try:
        day = date.fromisoformat(value)
    except ValueError:
        raise ValueError("is not a day of the calendar") from None
    if day < FIRST_DAY:
        raise ValueError(f"lies before {FIRST_DAY}, where no provider has data")
    if day > LAST_DAY:
        raise ValueError(f"lies after {LAST_DAY}")
    return day


def _day(params: Mapping[str, Any], name: str, today: date) -> date | None:
    value = params.get(name)
    if value is None:
        return None
    try:
        day = parse_day(value)
    except ValueError as error:
        raise RequestError(f"{name}: {value!r} {error}") from None
    if day > today:
        raise RequestError(f"{name}: {day} lies in the future; today is {today} in UTC")
    return day
