"""Which days are due: never today, never too many, none forgotten, none twice a day."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from convergence.runs.days import compute_first_day, find_due_days
from convergence.runs.slices import SliceInput

TODAY = date(2026, 11, 21)
TABLES = ("usage", "cost")


@dataclass(frozen=True)
class Checked:
    finality: str
    checked_at: datetime
    action: str = "PUBLISHED"
    content_hash: str = "a"
    inputs: tuple[SliceInput, ...] = ()


Ledger = dict[date, dict[str, Checked]]


def at(day: date, hour: int = 6) -> datetime:
    return datetime.combine(day, time(hour), UTC)


def look(ledger: Ledger, days: list[date], *, today: date, settle_days: int) -> None:
    """What a run leaves behind for the days it did."""
    for day in days:
        settled = today > day + timedelta(days=settle_days)
        finality = "FINAL" if settled else "SETTLING"
        ledger[day] = {table: Checked(finality, at(today)) for table in TABLES}


def due(ledger: Ledger, **changes: object) -> list[date]:
    values = {
        "first_day": TODAY - timedelta(days=5),
        "today": TODAY,
        "settle_days": 3,
        "max_days": 31,
        "tables": TABLES,
    } | changes
    return find_due_days(ledger, **values)  # type: ignore[arg-type]


def days_ago(*counts: int) -> list[date]:
    return [TODAY - timedelta(days=count) for count in counts]


def test_a_new_org_has_its_history_due_newest_first() -> None:
    assert due({}) == days_ago(1, 2, 3, 4, 5)


def test_history_begins_before_the_first_connected_day() -> None:
    assert compute_first_day(TODAY, history_days=30) == date(2026, 10, 22)


def test_a_second_run_of_the_day_finds_nothing() -> None:
    ledger: Ledger = {}
    look(ledger, due(ledger), today=TODAY, settle_days=3)
    assert due(ledger) == []


def test_tomorrow_looks_again_at_what_is_not_final() -> None:
    ledger: Ledger = {}
    look(ledger, due(ledger), today=TODAY, settle_days=3)
    tomorrow = TODAY + timedelta(days=1)
    assert due(ledger, today=tomorrow) == [TODAY, *days_ago(1, 2, 3)]


def test_a_day_that_lacks_one_table_is_due() -> None:
    final = Checked("FINAL", at(TODAY - timedelta(days=1)))
    whole = {day: dict.fromkeys(TABLES, final) for day in days_ago(1, 2, 3, 4, 5)}
    assert due(whole) == []
    assert due(whole | {days_ago(3)[0]: {"usage": final}}) == days_ago(3)


def test_a_day_checked_in_the_last_second_of_yesterday_is_due_again() -> None:
    (yesterday,) = days_ago(1)
    before = Checked("OPEN", datetime.combine(TODAY, time.min, UTC) - timedelta(microseconds=1))
    after = Checked("OPEN", datetime.combine(TODAY, time.min, UTC))
    assert due({yesterday: dict.fromkeys(TABLES, before)}, first_day=yesterday) == [yesterday]
    assert due({yesterday: dict.fromkeys(TABLES, after)}, first_day=yesterday) == []


def test_a_restated_day_is_final_once_its_provider_has_settled() -> None:
    final = Checked("FINAL", at(TODAY - timedelta(days=1)))
    rest = {day: dict.fromkeys(TABLES, final) for day in days_ago(1, 2, 3, 4)}
    (day,) = days_ago(5)
    early = Checked("RESTATED", at(day + timedelta(days=3)))
    late = Checked("RESTATED", at(day + timedelta(days=4)))
    assert due(rest | {day: dict.fromkeys(TABLES, early)}) == [day]
    assert due(rest | {day: dict.fromkeys(TABLES, late)}) == []


def test_what_was_never_done_goes_before_what_is_looked_at_again() -> None:
    ledger: Ledger = {}
    look(ledger, days_ago(1, 2), today=TODAY, settle_days=9)
    tomorrow = TODAY + timedelta(days=1)
    assert due(ledger, today=tomorrow, settle_days=9, max_days=2) == [TODAY, *days_ago(3)]


ledgers = st.dictionaries(
    st.integers(-3, 45).map(lambda count: TODAY - timedelta(days=count)),
    st.dictionaries(
        st.sampled_from(TABLES),
        st.builds(
            Checked,
            finality=st.sampled_from(["OPEN", "SETTLING", "FINAL", "RESTATED"]),
            checked_at=st.integers(0, 24 * 50).map(
                lambda hours: at(TODAY, 23) - timedelta(hours=hours)
            ),
        ),
    ),
)
cases = {
    "ledger": ledgers,
    "history": st.integers(0, 40),
    "settle_days": st.integers(0, 6),
    "max_days": st.integers(1, 12),
}


@settings(max_examples=150)
@given(**cases)
def test_only_complete_days_of_interest_are_due_newest_first_and_not_too_many(
    ledger: Ledger, history: int, settle_days: int, max_days: int
) -> None:
    first = TODAY - timedelta(days=history)
    days = due(ledger, first_day=first, settle_days=settle_days, max_days=max_days)
    assert days == sorted(set(days), reverse=True)
    assert len(days) <= max_days
    assert all(first <= day < TODAY for day in days)


@settings(max_examples=75)
@given(**cases)
def test_every_open_day_comes_to_its_turn_once_a_day(
    ledger: Ledger, history: int, settle_days: int, max_days: int
) -> None:
    first = TODAY - timedelta(days=history)
    wanted = {"first_day": first, "settle_days": settle_days}
    expected = due(ledger, max_days=1000, **wanted)
    done: list[date] = []
    while days := due(ledger, max_days=max_days, **wanted):
        look(ledger, days, today=TODAY, settle_days=settle_days)
        done += days
    assert len(done) == len(set(done))
    assert sorted(done, reverse=True) == expected


@settings(max_examples=40)
@given(ledger=ledgers, settle_days=st.integers(0, 6), max_days=st.integers(2, 5))
def test_daily_runs_make_every_day_final_however_few_they_may_do(
    ledger: Ledger, settle_days: int, max_days: int
) -> None:
    first = TODAY - timedelta(days=8)
    for later in range(60):
        today = TODAY + timedelta(days=later)
        days = due(ledger, first_day=first, today=today, settle_days=settle_days, max_days=max_days)
        look(ledger, days, today=today, settle_days=settle_days)
    old = [TODAY - timedelta(days=count) for count in range(1, 9)]
    assert all(
        ledger[day][table].finality in {"FINAL", "RESTATED"} for day in old for table in TABLES
    )


def test_a_final_day_with_an_invalidated_slice_is_due_at_once_and_waits_its_turn() -> None:
    ledger: Ledger = {}
    look(ledger, days_ago(1, 2, 3, 4, 5), today=TODAY, settle_days=0)
    assert due(ledger, settle_days=0) == []
    (day,) = days_ago(4)
    ledger[day]["cost"] = Checked("FINAL", at(TODAY, 7), "INVALIDATED")
    assert due(ledger, settle_days=0) == [day]
    (newer,) = days_ago(1)
    del ledger[newer]["usage"]
    assert due(ledger, settle_days=0, max_days=1) == [newer]


def test_a_final_day_whose_cost_is_older_than_its_usage_is_due_at_once() -> None:
    ledger: Ledger = {}
    look(ledger, days_ago(1, 2, 3, 4, 5), today=TODAY, settle_days=0)
    (day,) = days_ago(4)

    def cost_from(content: str, *, usage: str = "a") -> None:
        made_from = (SliceInput("usage", content), SliceInput("prices", "p"))
        ledger[day]["cost"] = Checked("FINAL", at(TODAY), inputs=made_from)
        ledger[day]["usage"] = Checked("FINAL", at(TODAY), content_hash=usage)

    cost_from("a")
    assert due(ledger, settle_days=0) == []
    cost_from("a", usage="b")
    assert due(ledger, settle_days=0) == [day]
    cost_from("a", usage="")
    assert due(ledger, settle_days=0) == []


def final_day(day: date, *, checked_days_ago: int) -> Ledger:
    checked = at(TODAY - timedelta(days=checked_days_ago))
    return {day: {table: Checked("FINAL", checked) for table in TABLES}}


def test_a_final_day_stays_due_for_a_bill_that_does_not_cover_it() -> None:
    day = TODAY - timedelta(days=20)
    ledger = final_day(day, checked_days_ago=1)
    only = {"first_day": day, "max_days": 400}
    assert day not in due(ledger, **only)
    assert day in due(ledger, **only, uncovered={day})
    assert day not in due(final_day(day, checked_days_ago=0), **only, uncovered={day})


def test_an_old_day_is_due_for_its_bill_once_a_week_and_at_last_no_more() -> None:
    for age, checked_days_ago, is_due in (
        (41, 6, False),
        (41, 7, True),
        (90, 8, True),
        (91, 8, False),
    ):
        day = TODAY - timedelta(days=age)
        ledger = final_day(day, checked_days_ago=checked_days_ago)
        found = due(ledger, first_day=day, max_days=400, uncovered={day})
        assert (day in found) is is_due, age
