"""Which days a run was asked for by its params, when it was not triggered through the HTTP API."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

from convergence.errors import RequestError

MAX_RANGE_DAYS = 366
DATE, START, END = "date", "start_date", "end_date"


def asked_days(params: Mapping[str, Any], *, today: date) -> tuple[date, ...] | None:
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


def _day(params: Mapping[str, Any], name: str, today: date) -> date | None:
    text = params.get(name)
    if text is None:
        return None
    try:
        day = date.fromisoformat(text)
    except (TypeError, ValueError):
        raise RequestError(f"{name}: {text!r} is not a day written YYYY-MM-DD") from None
    if day > today:
        raise RequestError(f"{name}: {day} lies in the future; today is {today} in UTC")
    return day
