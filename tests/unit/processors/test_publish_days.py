"""What a step does when other attempts at the same days come in between."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any, cast

import pytest

from convergence.errors import RetryableError, SupersededError
from convergence.processors.context import OrgContext, PipelineFacts
from convergence.processors.generic.slices import MOST_ROUNDS, Publish, Published, publish_days
from convergence.runs.ledger import Action, LedgerRow, Replaced
from convergence.runs.publisher import Attempt
from convergence.runs.slices import Finality, SliceKey
from convergence.warehouse.sealed import Money

NOW = datetime(2026, 11, 21, tzinfo=UTC)
DAYS = [date(2026, 11, 17) - timedelta(days=back) for back in range(3)]


@dataclass
class Publisher:
    """Gives out attempts; `outcomes` says what becomes of each day's next publish."""

    outcomes: dict[date, list[Any]] = field(default_factory=dict)
    begun: list[list[date]] = field(default_factory=list)

    def begin(self, keys: Sequence[SliceKey]) -> dict[SliceKey, Attempt]:
        self.begun.append([key.day for key in keys])
        return {key: Attempt(key, len(self.begun), None) for key in keys}

    def publish(self, attempt: Attempt) -> LedgerRow:
        waiting = self.outcomes.get(attempt.key.day) or [Action.PUBLISHED]
        outcome = waiting.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return LedgerRow(
            key=attempt.key,
            action=outcome,
            attempt=attempt.number,
            run_id="run_1",
            job_id="job",
            content_hash="hash",
            row_count=10,
            finality=Finality.FINAL,
            checked_at=NOW,
            job_ended_at=NOW,
        )


@dataclass
class Services:
    publisher: Publisher


def context(publisher: Publisher) -> OrgContext:
    return OrgContext(
        org_slug="acme",
        run_id="run_1",
        pipeline=PipelineFacts(pipeline_id="p", dag_id="p"),
        step="step",
        days=DAYS,
        params={},
        attempt=1,
        previous=None,
        services=cast("Any", Services(publisher)),
        log=logging.getLogger("test"),
        stop=threading.Event(),
    )


def making(publisher: Publisher, made: list[list[date]]) -> Any:
    def make(attempts: Mapping[date, Attempt], round_: int) -> Iterator[tuple[date, Publish]]:
        assert round_ == len(made)
        made.append(sorted(attempts, reverse=True))
        for day in made[-1]:
            yield day, partial(publisher.publish, attempts[day])

    return make


def overtaken(*, after: bool) -> SupersededError:
    return SupersededError("overtaken", after=after)


def test_days_are_published_under_attempts_taken_before_their_content_is_made() -> None:
    publisher = Publisher(outcomes={DAYS[1]: [Action.UNCHANGED]})
    made: list[list[date]] = []
    published = publish_days(context(publisher), DAYS, table="t", make=making(publisher, made))
    assert publisher.begun == made == [DAYS]
    assert published.row_count == 30
    assert published.facts() == {"days_published": 2, "days_unchanged": 1, "days_superseded": 0}


def test_a_day_overtaken_before_its_job_is_left_to_the_newer_attempt() -> None:
    publisher = Publisher(outcomes={DAYS[0]: [overtaken(after=False)]})
    made: list[list[date]] = []
    published = publish_days(context(publisher), DAYS, table="t", make=making(publisher, made))
    assert made == [DAYS]
    assert published.superseded == [DAYS[0]]
    assert sorted(published.rows, reverse=True) == DAYS[1:]


def test_a_day_overtaken_after_its_job_is_made_anew_under_a_higher_number() -> None:
    publisher = Publisher(outcomes={DAYS[1]: [overtaken(after=True)]})
    made: list[list[date]] = []
    published = publish_days(context(publisher), DAYS, table="t", make=making(publisher, made))
    assert made == [DAYS, [DAYS[1]]]
    assert published.rows[DAYS[1]].attempt == 2
    assert set(published.rows) == set(DAYS)


def test_a_step_that_is_always_overtaken_gives_up_and_names_the_day() -> None:
    always = [overtaken(after=True) for _ in range(MOST_ROUNDS)]
    publisher = Publisher(outcomes={DAYS[2]: always})
    made: list[list[date]] = []
    with pytest.raises(SupersededError) as caught:
        publish_days(context(publisher), DAYS, table="t", make=making(publisher, made))
    assert len(made) == MOST_ROUNDS
    assert caught.value.facts["days"] == [DAYS[2].isoformat()]


def test_any_other_failure_ends_the_step() -> None:
    publisher = Publisher(outcomes={DAYS[0]: [ZeroDivisionError()]})
    made: list[list[date]] = []
    with pytest.raises(ZeroDivisionError):
        publish_days(context(publisher), DAYS, table="t", make=making(publisher, made))


def test_a_step_that_is_being_stopped_begins_no_further_day() -> None:
    publisher = Publisher()
    made: list[list[date]] = []
    org = context(publisher)
    org.stop.set()
    with pytest.raises(RetryableError, match="stopped"):
        publish_days(org, DAYS, table="t", make=making(publisher, made))


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
    facts = Published(rows).facts()
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
    assert "restated" not in Published({DAYS[0]: rows[DAYS[0]]}).facts()
