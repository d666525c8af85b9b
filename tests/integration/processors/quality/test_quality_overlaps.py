"""Ties of a run whose day another run publishes meanwhile: newer input is no quality failure."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from convergence.errors import ExpectationsNotMetError, SupersededError
from convergence.processors.context import StepResult
from convergence.processors.lib.daily.overtaken import MARGIN_SECONDS
from convergence.processors.quality import ties
from convergence.processors.quality.config import ExpectationsConfig
from convergence.processors.quality.expectations import Expectations
from convergence.processors.quality.measure import Inspector
from convergence.processors.quality.record import RESULTS
from convergence.processors.quality.suite import load_schema, load_suite
from convergence.processors.quality.ties import confirm_ties
from convergence.runs.days import find_due_days
from convergence.runs.ledger import Action, LedgerRow
from convergence.runs.publisher import PricedDay, Publisher
from convergence.runs.slice_states import CHECKED
from convergence.state import org_runs, outbox
from convergence.state.org_runs import OrgRun, RunStatus
from support.cost_books import COST, DAY, USAGE, Books, money, new_run, usage_rows
from support.processor_env import NOW, USAGE_COST, OrgEnv

SUITE = "data_quality/expectations/openai_cost_suite.json"
A, B = 163_000, 249_254


class MistakenPublisher(Publisher):
    """Publishes no row, under the hash of the right content: a mistake that nobody recorded."""

    empty_sql: Path

    def publish_query(self, slice_: Any, query: PricedDay, **how: Any) -> LedgerRow:
        return super().publish_query(slice_, replace(query, sql_path=self.empty_sql), **how)


@pytest.fixture
def books(org: OrgEnv, tmp_path: Path) -> Books:
    made = Books(org, tmp_path)
    made.put_price("1")
    return made


def check(books: Books, *, run_id: str = "run_1") -> StepResult:
    step = Expectations(task_id="check", config={}, pipeline=USAGE_COST, batch={"runs": []})
    return step.run_step(books.org.context([DAY], run_id=run_id), ExpectationsConfig(suite=SUITE))


def results(books: Books) -> list[dict[str, Any]]:
    with books.org.env.services.store.read() as conn:
        rows = outbox.list_waiting_rows(conn, RESULTS)
    return [row for row in rows if row["org_slug"] == books.org.slug]


def test_usage_that_another_run_published_since_is_superseded_and_passes_when_it_is_priced(
    books: Books,
) -> None:
    books.extract(usage_rows(A))
    books.price()
    books.extract(usage_rows(B))
    with pytest.raises(SupersededError, match="2026-11-17"):
        check(books)
    assert results(books) == []
    books.price()
    assert check(books).details["quality"]["not_met"] == 0
    assert books.cost == money(B, "1")


def test_a_newer_run_that_died_before_its_ledger_row_is_no_quality_failure(books: Books) -> None:
    books.extract(usage_rows(A))
    books.price()
    books.extract(usage_rows(B), killed=True)
    with pytest.raises(SupersededError):
        check(books)


def test_a_newer_run_that_prices_between_measuring_and_looking_is_measured_again(
    books: Books,
) -> None:
    books.extract(usage_rows(A))
    books.price()
    books.extract(usage_rows(B))
    configs = books.org.env.settings.configs_dir
    suite = load_suite(configs / SUITE)
    inspector = Inspector(
        warehouse=books.org.env.warehouse,
        dataset=books.org.dataset,
        suite=suite,
        schemas={name: load_schema(configs, name, file) for name, file in suite.tables.items()},
    )
    verdicts = inspector.inspect([DAY])
    assert not all(one.passed for one in verdicts)
    books.price()
    confirmed = confirm_ties(books.org.context([DAY]), inspector, verdicts)
    assert all(one.passed for one in confirmed)
    assert [one.expectation for one in confirmed] == [one.expectation for one in verdicts]


def test_a_day_whose_newer_run_died_before_pricing_is_due_again(books: Books) -> None:
    books.extract(usage_rows(A))
    books.price()
    assert due(books) == []
    books.extract(usage_rows(B))
    assert due(books) == [DAY]
    with pytest.raises(SupersededError):
        check(books)
    assert due(books) == [DAY]
    books.price()
    assert due(books) == []


def test_a_cost_that_does_not_tie_is_computed_again_from_equal_inputs(
    books: Books, tmp_path: Path
) -> None:
    books.extract(usage_rows(A))
    services = books.org.env.services
    publisher = MistakenPublisher(services.warehouse, services.store, services.ledger)
    publisher.empty_sql = tmp_path / "nothing.sql"
    right = books.org.env.settings.configs_dir / "openai/cost/sql/price_usage.sql"
    publisher.empty_sql.write_text(right.read_text().replace("= @day", "= @day AND FALSE"))
    mistaken = replace(books.org.env, services=replace(services, publisher=publisher))
    Books(OrgEnv(mistaken, books.org.slug), tmp_path).price()
    believed = books.row(COST)
    with pytest.raises(ExpectationsNotMetError, match="requests_tie_to_the_usage"):
        check(books)
    assert books.row(COST).action is Action.INVALIDATED
    assert books.row(USAGE).is_valid
    assert due(books) == [DAY]
    books.price()
    assert books.row(COST).content_hash == believed.content_hash
    assert (books.row(COST).action, books.cost) == (Action.PUBLISHED, money(A, "1"))
    assert check(books).details["quality"]["not_met"] == 0


def due(books: Books) -> list[Any]:
    """Days that a run of the pipeline would do at this time."""
    ends = books.org.env.services.ledger.read_ends(
        CHECKED, orgs=[books.org.slug], pipeline_id=USAGE_COST.pipeline_id, since=DAY
    )
    return find_due_days(
        {DAY: {key.table: end for key, end in ends.items()}},
        first_day=DAY,
        today=min(NOW.date(), DAY.replace(day=DAY.day + 1)),
        settle_days=0,
        max_days=5,
        tables=(USAGE, COST),
    )


def start_run(books: Books, run_id: str) -> None:
    """Record a run of the org as running."""
    run = OrgRun(
        run_id=run_id,
        org_slug=books.org.slug,
        pipeline_id=USAGE_COST.pipeline_id,
        dag_id=USAGE_COST.dag_id,
        dag_run_id=f"manual__{run_id}",
        trigger="api",
        requested_by="key",
        created_at=NOW,
        status=RunStatus.RUNNING,
    )
    with books.org.env.services.store.begin() as conn:
        org_runs.insert_run(conn, run)


def test_a_slow_newer_run_is_waited_for(books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has published its usage and computes its cost only after the older run's check began."""
    monkeypatch.setattr(ties, "POLL_SECONDS", 0.1)
    books.extract(usage_rows(A))
    books.price()
    newer = new_run()
    start_run(books, newer)
    books.extract(usage_rows(B), run_id=newer)
    pricing = threading.Timer(1.0, books.price, kwargs={"run_id": newer})
    pricing.start()
    try:
        assert check(books).details["quality"]["not_met"] == 0
    finally:
        pricing.join(timeout=60)
    assert books.cost == money(B, "1")


def test_a_newer_run_that_works_longer_than_the_step_may_is_retryable(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ties, "POLL_SECONDS", 0.1)
    books.extract(usage_rows(A))
    books.price()
    newer = new_run()
    start_run(books, newer)
    books.extract(usage_rows(B), run_id=newer)
    step = Expectations(task_id="check", config={}, pipeline=USAGE_COST, batch={"runs": []})
    context = books.org.context([DAY])
    limited = replace(context, deadline=time.monotonic() + MARGIN_SECONDS + 1)
    with pytest.raises(SupersededError):
        step.run_step(limited, ExpectationsConfig(suite=SUITE))
