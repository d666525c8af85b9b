"""Which UTC days a trigger asks for."""

from __future__ import annotations

import re
from datetime import date, timedelta
from typing import Annotated

from pydantic import BeforeValidator

from convergence.api.problems import FieldFault, InvalidFieldsError, fault

MAX_RANGE_DAYS = 366
FIRST_DAY = date(2000, 1, 1)
_ISO_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")


def _parse(value: object) -> object:
    if isinstance(value, str) and _ISO_DAY.fullmatch(value):
        try:
            return date.fromisoformat(value)
        except ValueError:
            pass
    elif value is None or isinstance(value, date):
        return value
    raise ValueError("is not a day of the calendar written YYYY-MM-DD")


Day = Annotated[date, BeforeValidator(_parse)]


def asked_days(
    *, day: date | None, start: date | None, end: date | None, today: date
) -> tuple[date, ...] | None:
    """The days asked for, newest first; None stands for what is due.

    Args:
        day: a single day.
        start: first day of a range.
        end: last day of the range, included.
        today: the present UTC day; it may be asked for although it is not complete.

    Raises:
        InvalidFieldsError: naming every fault.
    """
    faults = _faults(day=day, start=start, end=end, today=today)
    if faults:
        raise InvalidFieldsError(faults)
    if day is not None:
        return (day,)
    if start is None or end is None:
        return None
    return tuple(end - timedelta(days=back) for back in range((end - start).days + 1))


def _faults(
    *, day: date | None, start: date | None, end: date | None, today: date
) -> list[FieldFault]:
    if day is not None and (start is not None or end is not None):
        return [fault("body.date", "stands alone: give date, or start_date with end_date")]
    if (start is None) != (end is None):
        missing = "start_date" if start is None else "end_date"
        return [fault(f"body.{missing}", "is missing: a range needs both of its ends")]
    named = {"date": day, "start_date": start, "end_date": end}
    faults = [
        fault(f"body.{name}", f"{value} lies in the future; today is {today} in UTC")
        for name, value in named.items()
        if value is not None and value > today
    ]
    faults += [
        fault(f"body.{name}", f"{value} lies before {FIRST_DAY}, where no provider has data")
        for name, value in named.items()
        if value is not None and value < FIRST_DAY
    ]
    if start is not None and end is not None:
        if end < start:
            faults.append(fault("body.end_date", f"{end} lies before start_date, {start}"))
        elif (end - start).days >= MAX_RANGE_DAYS:
            asked = (end - start).days + 1
            told = f"the range has {asked} days; {MAX_RANGE_DAYS} are allowed at once"
            faults.append(fault("body.end_date", told))
    return faults
