"""What a step does when other attempts at the same days come in between."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, cast

import pytest

from convergence.errors import InputNotAsRecordedError, RetryableError, SupersededError
from convergence.processors.context import OrgContext, PipelineInfo
from convergence.processors.lib.daily import overtaken as overtaken_days
from convergence.processors.lib.daily.day_source import DayContent, DaySource
from convergence.processors.lib.daily.slices import (
    MAX_ROUNDS,
    Published,
    publish_days,
    record_not_observable,
)
from convergence.runs.ledger import Action, LedgerRow, Replaced, SliceEnd
from convergence.runs.publisher import Attempt
from convergence.runs.slices import Finality, SliceKey
from convergence.settings import Settings
from convergence.state.attempts import HEARTBEAT_STALE, Holder, NewestAttempt
from convergence.warehouse.day_file import Money
from convergence.warehouse.names import TableName

NOW = datetime(2026, 11, 21, tzinfo=UTC)
DAYS = [date(2026, 11, 17) - timedelta(days=back) for back in range(3)]


@dataclass
class Publisher:
    """Gives out attempts; `outcomes` says what becomes of each day's next publish."""

    outcomes: dict[date, list[Any]] = field(default_factory=dict)
    begun: list[list[date]] = field(default_factory=list)
    working: dict[date, NewestAttempt] = field(default_factory=dict)
    """The newest attempts of others."""
    torn: set[date] = field(default_factory=set)
    """Days whose partition is not as the ledger's row says, until they are published again."""
    at_each_look: Callable[[], None] = lambda: None
    published: list[date] = field(default_factory=list)

    @contextmanager
    def hold_heartbeat(self, run_id: str) -> Iterator[Holder]:
        yield Holder("holder", run_id)

    def begin_attempts(
        self, keys: Sequence[SliceKey], *, holder: Holder | None = None
    ) -> dict[SliceKey, Attempt]:
        assert holder is not None
        self.begun.append([key.day for key in keys])
        return {key: Attempt(key, 10 * len(self.begun), None) for key in keys}

    def read_newest_attempts(self, keys: Sequence[SliceKey]) -> dict[SliceKey, NewestAttempt]:
        self.at_each_look()
        return {key: self.working[key.day] for key in keys if key.day in self.working}

    def is_as_recorded(self, row: LedgerRow, table: TableName) -> bool:
        assert table.table == row.key.table
        return row.key.day not in self.torn

    def publish_query(self, attempt: Attempt, *_: Any, **__: Any) -> LedgerRow:
        self.published.append(attempt.key.day)
        waiting = self.outcomes.get(attempt.key.day) or [Action.PUBLISHED]
        outcome = waiting.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return published_row(attempt.key.day, attempt=attempt.number, action=outcome)


@dataclass
class Ledger:
    """The rows of all attempts, newest last."""

    rows: list[LedgerRow | SliceEnd] = field(default_factory=list)

    def read_ends(self, actions: Collection[Action], **_: Any) -> dict[SliceKey, SliceEnd]:
        return {row.key: cast("SliceEnd", row) for row in self.rows if row.action in actions}

    def read_latest(self, **_: Any) -> dict[SliceKey, LedgerRow]:
        return {row.key: row for row in self.rows if isinstance(row, LedgerRow)}

    def append_rows(self, rows: Sequence[LedgerRow | SliceEnd]) -> None:
        self.rows.extend(rows)


@dataclass
class Services:
    publisher: Publisher
    ledger: Ledger = field(default_factory=Ledger)
    settings: Settings = field(default_factory=Settings)
    now: Callable[[], datetime] = lambda: NOW


def published_row(day: date, *, attempt: int, action: Action = Action.PUBLISHED) -> LedgerRow:
    return LedgerRow(
        key=SliceKey("acme", "p", "t", day),
        action=action,
        attempt=attempt,
        run_id="run_1",
        job_id="job",
        content_hash="hash",
        row_count=10,
        finality=Finality.FINAL,
        checked_at=NOW,
        job_ended_at=NOW,
    )


def another(
    number: int, *, run_id: str = "run_2", silent: timedelta = timedelta(0)
) -> NewestAttempt:
    """A newer attempt, whose process said that it works that long ago."""
    now = datetime.now(UTC)
    return NewestAttempt(number=number, taken_at=now, run_id=run_id, heartbeat_at=now - silent)


def context(publisher: Publisher, ledger: Ledger | None = None, **changes: Any) -> OrgContext:
    org = OrgContext(
        org_slug="acme",
        run_id="run_1",
        pipeline=PipelineInfo(pipeline_id="p", dag_id="p"),
        step="step",
        days=DAYS,
        params={},
        attempt=1,
        previous=None,
        services=cast("Any", Services(publisher, ledger or Ledger())),
        log=logging.getLogger("test"),
        stop=threading.Event(),
    )
    return replace(org, **changes)


@dataclass
class Source(DaySource):
    """Makes a day's content once per round; `made` has the days of each round."""

    publisher: Publisher
    made: list[list[date]] = field(default_factory=list)
    empty: set[date] = field(default_factory=set)
    """Days that have no content yet."""
    failing: dict[date, Exception] = field(default_factory=dict)
    requested: list[date] = field(default_factory=list)
    """Days whose content was requested."""

    table = "t"
    schema = cast("Any", None)

    def prepare(self, attempts: Mapping[date, Attempt], *, round_number: int) -> None:
        assert round_number == len(self.made)
        self.made.append(sorted(attempts, reverse=True))

    def content(self, day: date) -> DayContent | None:
        self.requested.append(day)
        if day in self.failing:
            raise self.failing[day]
        return None if day in self.empty else DayContent(cast("Any", None), NOW)


def overtaken(*, after: bool) -> SupersededError:
    return SupersededError("overtaken", after=after)


def test_days_are_published_under_attempts_taken_before_their_content_is_made() -> None:
    publisher = Publisher(outcomes={DAYS[1]: [Action.UNCHANGED]})
    made: list[list[date]] = []
    published = publish_days(context(publisher), Source(publisher, made), DAYS)
    assert publisher.begun == made == [DAYS]
    assert published.row_count == 30
    assert published.build_details() == {
        "days_published": 2,
        "days_unchanged": 1,
        "days_superseded": 0,
    }


@pytest.mark.parametrize("after", [False, True])
def test_a_day_is_left_to_a_newer_attempt_that_has_published_it(after: bool) -> None:
    publisher = Publisher(outcomes={DAYS[0]: [overtaken(after=after)]})
    ledger = Ledger([published_row(DAYS[0], attempt=11)])
    made: list[list[date]] = []
    org = context(publisher, ledger)
    published = publish_days(org, Source(publisher, made), DAYS)
    assert made == [DAYS]
    assert published.superseded == [DAYS[0]]
    assert sorted(published.rows, reverse=True) == DAYS[1:]
    ended = ledger.rows[-1]
    assert (ended.action, ended.attempt, ended.run_id) == (Action.SUPERSEDED, 10, "run_1")


def test_a_day_whose_newer_attempt_died_without_a_row_is_made_again() -> None:
    dead = another(11, silent=HEARTBEAT_STALE + timedelta(seconds=1))
    publisher = Publisher({DAYS[0]: [overtaken(after=False)]}, working={DAYS[0]: dead})
    made: list[list[date]] = []
    published = publish_days(context(publisher), Source(publisher, made), DAYS)
    assert made == [DAYS, [DAYS[0]]]
    assert published.rows[DAYS[0]].attempt == 20
    assert published.superseded == []


def test_a_row_of_an_older_attempt_ends_nothing() -> None:
    publisher = Publisher({DAYS[0]: [overtaken(after=False)]})
    ledger = Ledger([published_row(DAYS[0], attempt=9)])
    made: list[list[date]] = []
    publish_days(context(publisher, ledger), Source(publisher, made), DAYS)
    assert made == [DAYS, [DAYS[0]]]


def test_a_day_that_this_attempt_has_overwritten_is_made_again() -> None:
    publisher = Publisher({DAYS[1]: [overtaken(after=True)]}, torn={DAYS[1]})
    ledger = Ledger([published_row(DAYS[1], attempt=11)])
    made: list[list[date]] = []
    org = context(publisher, ledger)
    published = publish_days(org, Source(publisher, made), DAYS)
    assert made == [DAYS, [DAYS[1]]]
    assert published.rows[DAYS[1]].attempt == 20
    assert set(published.rows) == set(DAYS)


def test_a_slow_newer_attempt_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overtaken_days, "POLL_SECONDS", 0.001)
    ledger = Ledger()
    looks: list[None] = []

    def look() -> None:
        looks.append(None)
        if len(looks) == 5:
            ledger.rows.append(published_row(DAYS[0], attempt=11))
            publisher.working.clear()

    publisher = Publisher(
        {DAYS[0]: [overtaken(after=False)]}, working={DAYS[0]: another(11)}, at_each_look=look
    )
    made: list[list[date]] = []
    org = context(publisher, ledger)
    published = publish_days(org, Source(publisher, made), DAYS)
    assert made == [DAYS]
    assert published.superseded == [DAYS[0]]


def test_a_retry_takes_no_number_where_a_newer_attempt_works(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(overtaken_days, "POLL_SECONDS", 0.001)
    ledger = Ledger()

    def look() -> None:
        if publisher.begun:
            ledger.rows.append(published_row(DAYS[0], attempt=11))

    publisher = Publisher(working={DAYS[0]: another(11)}, at_each_look=look)
    monkeypatch.setattr(overtaken_days, "LEDGER_SECONDS", 0.0)
    made: list[list[date]] = []
    org = context(publisher, ledger, attempt=2, resumes=True)
    published = publish_days(org, Source(publisher, made), DAYS)
    assert publisher.begun == [DAYS[1:]]
    assert published.superseded == [DAYS[0]]
    assert {row.action for row in ledger.rows} == {Action.PUBLISHED, Action.SUPERSEDED}


@pytest.mark.parametrize(
    "newest",
    [
        another(11, silent=HEARTBEAT_STALE),
        another(11, run_id="run_1"),
        NewestAttempt(number=11, taken_at=None, run_id=None, heartbeat_at=None),
    ],
    ids=["dead", "its own run's", "an older release's"],
)
def test_a_retry_takes_a_number_where_no_other_run_works(newest: NewestAttempt) -> None:
    publisher = Publisher(working=dict.fromkeys(DAYS, newest))
    org = context(publisher, attempt=2, resumes=True)
    publish_days(org, Source(publisher), DAYS)
    assert publisher.begun == [DAYS]


def test_a_first_try_overtakes_whoever_works() -> None:
    publisher = Publisher(working=dict.fromkeys(DAYS, another(11)))
    publish_days(context(publisher), Source(publisher), DAYS)
    assert publisher.begun == [DAYS]


def test_waiting_ends_with_the_steps_time_and_is_worth_a_retry() -> None:
    publisher = Publisher({DAYS[0]: [overtaken(after=False)]}, working={DAYS[0]: another(11)})
    org = context(publisher, deadline=time.monotonic() + overtaken_days.MARGIN_SECONDS)
    with pytest.raises(SupersededError, match="still working"):
        publish_days(org, Source(publisher), DAYS)


def test_an_older_try_of_the_same_run_stops_at_once() -> None:
    newer_try = another(11, run_id="run_1")
    publisher = Publisher({DAYS[0]: [overtaken(after=False)]}, working={DAYS[0]: newer_try})
    with pytest.raises(SupersededError, match="newer try of this run"):
        publish_days(context(publisher), Source(publisher), DAYS)


def test_every_day_is_asked_for_and_a_day_without_content_writes_nothing() -> None:
    source = Source(Publisher(), empty={DAYS[1]})
    published = publish_days(context(source.publisher), source, DAYS)
    assert source.requested == DAYS
    assert sorted(published.rows, reverse=True) == [DAYS[0], DAYS[2]]


def test_a_day_with_wrong_inputs_fails_the_step_after_the_others_are_published() -> None:
    error = InputNotAsRecordedError("Days of an input are missing", days=[DAYS[0].isoformat()])
    source = Source(Publisher(), failing={DAYS[0]: error})
    ledger = Ledger()
    with pytest.raises(InputNotAsRecordedError):
        publish_days(context(source.publisher, ledger), source, DAYS)
    assert source.publisher.published == DAYS[1:]


def test_a_step_that_is_always_overtaken_gives_up_and_names_the_day() -> None:
    always = [overtaken(after=True) for _ in range(MAX_ROUNDS)]
    publisher = Publisher(outcomes={DAYS[2]: always})
    made: list[list[date]] = []
    with pytest.raises(SupersededError) as caught:
        publish_days(context(publisher), Source(publisher, made), DAYS)
    assert len(made) == MAX_ROUNDS
    assert caught.value.details["days"] == [DAYS[2].isoformat()]


def test_days_that_cannot_be_observed_are_recorded_without_taking_a_number() -> None:
    publisher = Publisher(working={DAYS[0]: another(11)})
    ledger = Ledger()
    record_not_observable(context(publisher, ledger), DAYS[:2], table="t")
    assert publisher.begun == []
    assert [(row.action, row.attempt, row.finality) for row in ledger.rows] == [
        (Action.NOT_OBSERVABLE, 11, Finality.FINAL),
        (Action.NOT_OBSERVABLE, 0, Finality.FINAL),
    ]


def test_any_other_failure_ends_the_step() -> None:
    publisher = Publisher(outcomes={DAYS[0]: [ZeroDivisionError()]})
    made: list[list[date]] = []
    with pytest.raises(ZeroDivisionError):
        publish_days(context(publisher), Source(publisher, made), DAYS)


def test_a_step_that_is_being_stopped_begins_no_further_day() -> None:
    publisher = Publisher()
    made: list[list[date]] = []
    org = context(publisher)
    org.stop.set()
    with pytest.raises(RetryableError, match="stopped"):
        publish_days(org, Source(publisher, made), DAYS)


def test_only_what_had_been_final_is_told_as_restated_with_its_old_and_new_totals() -> None:
    def row(day: date, finality: Finality, amount: str) -> LedgerRow:
        old = Replaced("run_0", 7, (Money("USD", "billed", Decimal("1.50")),))
        return LedgerRow(
            key=SliceKey("acme_corp", "p", "usage", day),
            action=Action.PUBLISHED,
            attempt=2,
            run_id="run_1",
            job_id="job",
            content_hash="hash",
            row_count=8,
            totals=(Money("USD", "billed", Decimal(amount)),),
            finality=finality,
            checked_at=NOW,
            job_ended_at=NOW,
            replaced=old,
        )

    finalities = (Finality.SETTLING, Finality.FINAL, Finality.RESTATED)
    rows = {day: row(day, finality, "2.25") for day, finality in zip(DAYS, finalities, strict=True)}
    facts = Published(rows).build_details()
    assert facts["days_restated"] == 1
    assert facts["restated"] == [
        {
            "day": DAYS[2].isoformat(),
            "rows": 8,
            "previous_rows": 7,
            "totals": [{"currency": "USD", "basis": "billed", "amount": "2.25"}],
            "previous_totals": [{"currency": "USD", "basis": "billed", "amount": "1.50"}],
            "previous_run_id": "run_0",
        }
    ]
    assert "restated" not in Published({DAYS[0]: rows[DAYS[0]]}).build_details()
