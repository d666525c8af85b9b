"""Split days into the fewest ranges that contain exactly these days."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple


class DayRange(NamedTuple):
    """Contiguous UTC days, both ends inclusive."""

    first: date
    last: date

    @property
    def days(self) -> tuple[date, ...]:
        """All days of the range, oldest first."""
        count = (self.last - self.first).days + 1
        return tuple(self.first + timedelta(days=n) for n in range(count))

    @property
    def start(self) -> datetime:
        """The first instant, UTC."""
        return datetime.combine(self.first, time.min, UTC)

    @property
    def end(self) -> datetime:
        """The first instant after the range, UTC."""
        return datetime.combine(self.last + timedelta(days=1), time.min, UTC)


def split_into_ranges(days: Iterable[date], *, longest: int) -> Iterator[DayRange]:
    """Yield ranges that contain exactly these days, newest first, none longer than `longest` days.

    The newest days come first, because people look at them first if a run is cut short.
    """
    run: list[date] = []
    for day in sorted(set(days), reverse=True):
        if run and (run[-1] - day != timedelta(days=1) or len(run) == longest):
            yield DayRange(run[-1], run[0])
            run = []
        run.append(day)
    if run:
        yield DayRange(run[-1], run[0])
