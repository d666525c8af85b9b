"""Days to fetch → the fewest requests that fetch them, and nothing else."""

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
        """Every day of the range, oldest first."""
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


def contiguous(days: Iterable[date], *, longest: int) -> Iterator[DayRange]:
    """Ranges that hold exactly the given days, newest first, none longer than `longest` days.

    Newest first, so that a run which is cut short has done the days that people look at.
    """
    run: list[date] = []
    for day in sorted(set(days), reverse=True):
        if run and (run[-1] - day != timedelta(days=1) or len(run) == longest):
            yield DayRange(run[-1], run[0])
            run = []
        run.append(day)
    if run:
        yield DayRange(run[-1], run[0])
