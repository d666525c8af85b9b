"""Choose the billing periods to load and the days to confirm: pure.

AWS rewrites a period as a whole, so a period is loaded as a whole: when it is new and a due day
lies in it, or when its files are others than those it was last loaded from, however long its days
have been final.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date

from convergence.processors.aws.export import Period


@dataclass(frozen=True, slots=True)
class Plan:
    """Periods and days by action.

    Attributes:
        load: first days of the periods to load, newest first.
        later: periods that are left to the next run.
        keep: due days whose period is as it was.
        vanished: first days of periods that were loaded and are no longer in the bucket; what was
            published of them stays.
        without_export: due days outside of every period, published or not yet delivered.
    """

    load: tuple[date, ...] = ()
    later: tuple[date, ...] = ()
    keep: tuple[date, ...] = ()
    vanished: tuple[date, ...] = ()
    without_export: tuple[date, ...] = ()


def plan_periods(
    found: Mapping[date, Period],
    hashes: Mapping[date, str],
    loaded: Mapping[date, str],
    *,
    due: Collection[date],
    today: date,
    max_periods: int,
) -> Plan:
    """Compare what is there with what was loaded.

    Args:
        found: the export's periods by their first day.
        hashes: of each period's files.
        loaded: of the files that each period was last loaded from.
        due: days to do.
        today: the present UTC day.
        max_periods: most periods to load at once.
    """
    months = {day.replace(day=1) for day in due}
    load = sorted(
        (
            first
            for first in found
            if first <= today
            and (loaded[first] != hashes[first] if first in loaded else first in months)
        ),
        reverse=True,
    )
    kept = (set(found) & set(loaded)) - set(load)
    vanished = set(loaded) - set(found)
    return Plan(
        load=tuple(load[:max_periods]),
        later=tuple(load[max_periods:]),
        keep=_days(due, kept | vanished),
        vanished=tuple(sorted(vanished)),
        without_export=_days(due, months - set(found) - vanished),
    )


def _days(days: Collection[date], months: Collection[date]) -> tuple[date, ...]:
    return tuple(sorted((day for day in days if day.replace(day=1) in months), reverse=True))
