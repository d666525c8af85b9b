from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convergence.errors import ConfigurationError
from convergence.runs.ledger import Action, Ledger, LedgerRow, SliceEnd
from convergence.runs.slice_states import CHECKED, CONTENT, ENDING
from convergence.runs.slices import Finality, SliceKey, advance_finality, compute_finality
from convergence.warehouse.day_file import Money
from support.fake_bigquery import FakeBigQuery, warehouse

DAY = date(2026, 11, 17)
KEY = SliceKey("acme_corp", "openai-usage-cost", "openai_usage_daily_raw", DAY)
FINAL, OPEN, SETTLING, RESTATED = (
    Finality.FINAL,
    Finality.OPEN,
    Finality.SETTLING,
    Finality.RESTATED,
)


def _row(**changes: object) -> LedgerRow:
    values: dict[str, object] = {
        "key": KEY,
        "action": Action.PUBLISHED,
        "attempt": 1,
        "run_id": "run_1",
        "job_id": "job_1",
        "content_hash": "abc",
        "row_count": 3,
        "totals": (
            Money("EUR", "billed", Decimal("0.000000001")),
            Money("USD", "computed", Decimal("12.975")),
        ),
        "source_pages": 2,
        "finality": SETTLING,
        "checked_at": datetime(2026, 11, 20, 6, 0, tzinfo=UTC),
        "job_ended_at": datetime(2026, 11, 20, 6, 0, 1, 5000, tzinfo=UTC),
    }
    return LedgerRow(**{**values, **changes})  # type: ignore[arg-type]


def test_a_slice_names_itself() -> None:
    assert KEY.id == "acme_corp/openai-usage-cost/openai_usage_daily_raw/2026-11-17"


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (datetime(2026, 11, 17, 23, 59, 59, tzinfo=UTC), OPEN),
        (datetime(2026, 11, 18, tzinfo=UTC), SETTLING),
        (datetime(2026, 11, 20, 23, 59, 59, tzinfo=UTC), SETTLING),
        (datetime(2026, 11, 21, tzinfo=UTC), FINAL),
    ],
)
def test_a_day_is_open_then_settles_then_is_final(now: datetime, expected: Finality) -> None:
    assert compute_finality(DAY, now, settle_days=3) is expected


def test_a_day_that_settles_at_once_is_final_when_it_ends() -> None:
    assert compute_finality(DAY, datetime(2026, 11, 18, tzinfo=UTC), settle_days=0) is FINAL


@given(
    hours=st.lists(st.integers(0, 400), min_size=2, max_size=8).map(sorted),
    settle_days=st.integers(0, 10),
)
def test_an_unchanged_day_only_goes_forward(hours: list[int], settle_days: int) -> None:
    order = [OPEN, SETTLING, FINAL]
    told = [
        compute_finality(DAY, KEY.begins_at + timedelta(hours=hour), settle_days) for hour in hours
    ]
    assert [order.index(one) for one in told] == sorted(order.index(one) for one in told)


@pytest.mark.parametrize(
    ("calendar", "before", "changed", "expected"),
    [
        (FINAL, None, True, FINAL),
        (SETTLING, SETTLING, True, SETTLING),
        (FINAL, SETTLING, True, FINAL),
        (FINAL, FINAL, False, FINAL),
        (FINAL, FINAL, True, RESTATED),
        (FINAL, RESTATED, True, RESTATED),
        (FINAL, RESTATED, False, FINAL),
    ],
)
def test_what_changes_after_it_was_final_is_restated(
    calendar: Finality, before: Finality | None, changed: bool, expected: Finality
) -> None:
    assert advance_finality(calendar, before=before, changed=changed) is expected


def test_a_row_comes_back_as_it_went() -> None:
    ledger = Ledger(warehouse(FakeBigQuery()))
    ledger.append_rows([_row()])
    found = ledger.read_latest(orgs=["acme_corp"], pipeline_id="openai-usage-cost", since=DAY)
    assert found == {KEY: _row()}


def test_the_highest_attempt_counts_whatever_the_clocks_say() -> None:
    ledger = Ledger(warehouse(FakeBigQuery()))
    late = datetime(2026, 11, 20, 7, 0, tzinfo=UTC)
    ledger.append_rows([_row(attempt=2, content_hash="new"), _row(attempt=1, checked_at=late)])
    (row,) = ledger.read_latest(orgs=["acme_corp"], pipeline_id="openai-usage-cost").values()
    assert row.content_hash == "new"


def _end(action: Action, attempt: int) -> SliceEnd:
    return SliceEnd(
        key=KEY,
        action=action,
        attempt=attempt,
        run_id="run_2",
        finality=FINAL,
        checked_at=datetime(2026, 11, 20, 8, 0, tzinfo=UTC),
    )


WITHOUT_CONTENT = sorted(set(Action) - CONTENT)
OF_KEY: dict[str, Any] = {"orgs": [KEY.org_slug], "pipeline_id": KEY.pipeline_id}


@pytest.mark.parametrize("action", WITHOUT_CONTENT)
def test_a_row_without_content_is_never_read_as_what_is_published(action: Action) -> None:
    ledger = Ledger(warehouse(FakeBigQuery()))
    ledger.append_rows([_row(), _end(action, attempt=2)])
    assert ledger.read_latest(**OF_KEY) == {KEY: _row()}
    assert ledger.read_ends(set(Action), **OF_KEY) == {KEY: _end(action, attempt=2)}


@pytest.mark.parametrize("action", WITHOUT_CONTENT)
def test_a_slice_that_was_never_published_has_no_content(action: Action) -> None:
    ledger = Ledger(warehouse(FakeBigQuery()))
    ledger.append_rows([_end(action, attempt=1)])
    assert ledger.read_latest(**OF_KEY) == {}
    assert ledger.read_history(**OF_KEY)[KEY].content is None


@pytest.mark.parametrize("action", sorted(CONTENT))
def test_rows_of_every_state_with_content_are_read_as_published(action: Action) -> None:
    ledger = Ledger(warehouse(FakeBigQuery()))
    ledger.append_rows([_row(), _row(action=action, attempt=2)])
    assert ledger.read_latest(**OF_KEY) == {KEY: _row(action=action, attempt=2)}


def test_a_history_counts_attempts_of_every_state() -> None:
    ledger = Ledger(warehouse(FakeBigQuery()))
    ledger.append_rows([_end(Action.REFUSED, attempt=7), _row(attempt=5)])
    history = ledger.read_history(**OF_KEY)[KEY]
    assert (history.content, history.attempt) == (_row(attempt=5), 7)


def test_how_a_slice_ended_is_read_for_the_states_in_question() -> None:
    ledger = Ledger(warehouse(FakeBigQuery()))
    ledger.append_rows(
        [_row(attempt=2), _end(Action.NOT_OBSERVABLE, 2), _end(Action.SUPERSEDED, attempt=1)]
    )
    assert ledger.read_ends(CHECKED, **OF_KEY)[KEY].action is Action.NOT_OBSERVABLE
    assert ledger.read_ends(ENDING, **OF_KEY)[KEY].action is Action.PUBLISHED
    assert ledger.read_ends({Action.REFUSED}, **OF_KEY) == {}


@pytest.mark.parametrize("row", [_row(action=Action.SUPERSEDED), _end(Action.PUBLISHED, attempt=1)])
def test_a_row_whose_kind_does_not_fit_its_state_is_refused(row: LedgerRow | SliceEnd) -> None:
    fake = FakeBigQuery()
    with pytest.raises(ConfigurationError, match="state with content"):
        Ledger(warehouse(fake)).append_rows([row])
    assert not fake.calls


def test_no_orgs_is_no_query() -> None:
    fake = FakeBigQuery()
    assert Ledger(warehouse(fake)).read_latest(orgs=[], pipeline_id="p", since=DAY) == {}
    assert not fake.calls


def test_a_look_before_the_day_is_refused_since_it_could_never_be_found() -> None:
    fake = FakeBigQuery()
    early = KEY.begins_at - timedelta(microseconds=1)
    with pytest.raises(ConfigurationError):
        Ledger(warehouse(fake)).append_rows([_row(), _row(checked_at=early)])
    assert not fake.calls, "all or nothing"
