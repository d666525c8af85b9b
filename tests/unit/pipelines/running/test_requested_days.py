from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convergence.errors import RequestError
from convergence.pipelines.running.requested_days import MAX_RANGE_DAYS, parse_requested_days

TODAY = date(2026, 11, 21)
_DAYS = st.dates(TODAY - timedelta(days=1000), TODAY)


def test_nothing_asked_is_what_is_due() -> None:
    assert parse_requested_days({}, today=TODAY) is None
    assert parse_requested_days({"other": 1}, today=TODAY) is None


def test_a_single_day() -> None:
    assert parse_requested_days({"date": "2026-11-20"}, today=TODAY) == (date(2026, 11, 20),)


@settings(max_examples=40)
@given(_DAYS, st.integers(0, MAX_RANGE_DAYS - 1))
def test_a_range_has_both_its_ends_and_every_day_between_newest_first(
    end: date, count: int
) -> None:
    start = end - timedelta(days=count)
    asked = {"start_date": start.isoformat(), "end_date": end.isoformat()}
    days = parse_requested_days(asked, today=TODAY)
    assert days is not None
    assert (days[0], days[-1], len(set(days))) == (end, start, count + 1)
    assert list(days) == sorted(days, reverse=True)


@pytest.mark.parametrize(
    ("params", "fault"),
    [
        ({"start_date": "2026-11-01"}, "end_date is missing"),
        ({"end_date": "2026-11-01"}, "start_date is missing"),
        ({"start_date": "2026-11-03", "end_date": "2026-11-01"}, "is before start_date"),
        ({"start_date": "2025-11-01", "end_date": "2026-11-02"}, "the range has 367 days"),
        ({"date": "2026-11-22"}, "is in the future"),
        ({"date": "2026-02-30"}, "is not a day"),
        ({"date": 20261101}, "is not a day"),
        ({"date": "20261101"}, "is not a day in the form"),
        ({"date": "2026-W45-1"}, "is not a day in the form"),
        ({"date": "1999-12-31"}, "is before 2000-01-01"),
        ({"date": "2026-11-01", "end_date": "2026-11-01"}, "Set either date"),
    ],
)
def test_what_can_not_be_asked_is_refused_by_name(params: dict[str, Any], fault: str) -> None:
    with pytest.raises(RequestError, match=fault):
        parse_requested_days(params, today=TODAY)
