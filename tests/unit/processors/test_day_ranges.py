from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from convergence.processors.lib.daily.day_ranges import split_into_ranges

DAYS = st.sets(st.integers(0, 60).map(lambda n: date(2026, 2, 1) + timedelta(days=n)))


@settings(max_examples=60)
@given(DAYS, st.integers(1, 31))
def test_ranges_hold_exactly_the_days_asked_for(days: set[date], longest: int) -> None:
    ranges = list(split_into_ranges(days, longest=longest))
    held = [day for found in ranges for day in found.days]
    assert sorted(held) == sorted(days)
    assert all(len(found.days) <= longest for found in ranges)
    assert [found.last for found in ranges] == sorted((r.last for r in ranges), reverse=True)


@settings(max_examples=60)
@given(DAYS)
def test_neighbours_share_a_request(days: set[date]) -> None:
    ranges = list(split_into_ranges(days, longest=100))
    gaps = sum(day - timedelta(days=1) not in days for day in days)
    assert len(ranges) == gaps


def test_a_range_ends_where_the_next_day_begins() -> None:
    (leap,) = split_into_ranges([date(2028, 2, 29), date(2028, 2, 28)], longest=31)
    assert leap.start == datetime(2028, 2, 28, tzinfo=UTC)
    assert leap.end == datetime(2028, 3, 1, tzinfo=UTC)
