"""What grows with time is forgotten in time, and nothing else; on both databases."""

from __future__ import annotations

import uuid
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Table, func, select, text

from convergence.state import attempts, outbox, retention
from convergence.state import notifications as claims
from convergence.state.idempotency import claim_key
from convergence.state.org_runs import OrgRun, RunStatus, insert_run
from convergence.state.org_steps import OrgStep, start_step
from convergence.state.queueing import queue
from convergence.state.queueing.queued_run import QueuedRun, QueueStatus
from convergence.state.retention import ATTEMPTS_KEPT, RUNS_KEPT, prune_store
from convergence.state.schema.tables import leases, metadata, outbox_leases
from convergence.state.store import StateStore

NOW = datetime.now(UTC)
LATE = NOW + RUNS_KEPT + timedelta(days=1)
# One row per org, or per org and pipeline; and the runs that the next minute announces.
BOUNDED = {
    "state_meta",
    "api_keys",
    "cache_versions",
    "audit_heads",
    "pipeline_configs",
    "unannounced_runs",
}


def build_run(run_id: str, **changes: object) -> OrgRun:
    first = OrgRun(
        run_id=run_id,
        org_slug="acme_corp",
        pipeline_id="openai-usage-cost",
        dag_id="openai.cost.usage_cost",
        dag_run_id=f"api__{run_id}",
        trigger="api",
        requested_by="key_1",
        created_at=NOW,
        status=RunStatus.SUCCESS,
        ended_at=NOW,
    )
    return replace(first, **changes)  # type: ignore[arg-type]


def entry(**changes: object) -> QueuedRun:
    first = QueuedRun(
        "acme_corp", "openai-usage-cost", "openai.cost.usage_cost", None, "key_1", NOW
    )
    return replace(first, queue_id=f"que_{uuid.uuid4().hex}", **changes)  # type: ignore[arg-type]


def counts(store: StateStore) -> dict[str, int]:
    with store.read() as conn:
        return {
            table.name: conn.execute(select(func.count()).select_from(table)).scalar_one()
            for table in metadata.sorted_tables
        }


@pytest.fixture
def lived(store: StateStore) -> StateStore:
    """A store in which every table that grows has rows that are over."""
    with store.begin() as conn:
        insert_run(conn, build_run("run_over"))
        start_step(conn, OrgStep("run_over", "extract", "acme_corp", "openai.usage", 1, NOW))
        queue.add_entry(conn, entry(status=QueueStatus.STARTED, ended_at=NOW))
        attempts.next_attempt(conn, "acme_corp|usage|2026-01-01")
        claim_key(conn, "acme_corp", "once", request_hash="0" * 64, now=NOW)
        key = claims.NotificationKey("run_over", "acme_corp", "email", "failed")
        claims.claim_notification(conn, key, now=NOW, max_attempts=1)
        for table in ("org_meta_step_logs", "org_audit_logs"):
            outbox.enqueue_row(conn, table, {"x": 1})
        conn.execute(text("UPDATE outbox SET rejection = 'no such column'"))
        conn.execute(leases.insert().values(name="work", owner="dead", expires_at=NOW))
        conn.execute(outbox_leases.insert().values(table_name="gone", expires_at=NOW))
    return store


def test_everything_that_is_over_goes_but_an_audit_entry(lived: StateStore) -> None:
    assert not any(asdict(prune_store(lived, now=NOW + timedelta(hours=1))).values())
    done = prune_store(lived, now=LATE)
    assert asdict(done) == {
        "idempotency_keys": 1,
        "runs": 1,
        "steps": 1,
        "queue_entries": 1,
        "slice_attempts": 1,
        "refused_rows": 2,  # the step's, and what the queue's entry logged
        "leases": 2,
        "notifications": 1,
    }
    left = {name: count for name, count in counts(lived).items() if name not in BOUNDED}
    assert {name: count for name, count in left.items() if count} == {"outbox": 1}
    with lived.read() as conn:
        assert [table for table, _, _ in outbox.list_rejected_rows(conn)] == ["org_audit_logs"]


def test_what_is_not_over_stays_however_old(store: StateStore) -> None:
    with store.begin() as conn:
        insert_run(conn, build_run("run_live", status=RunStatus.RUNNING, ended_at=None))
        insert_run(conn, build_run("run_young", ended_at=LATE - timedelta(days=2)))
        start_step(conn, OrgStep("run_live", "extract", "acme_corp", "openai.usage", 1, NOW))
        queue.add_entry(conn, entry())
    assert not any(asdict(prune_store(store, now=LATE)).values())


def test_many_go_a_few_at_a_time(store: StateStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "MAX_ROWS_PER_CALL", 4)
    with store.begin() as conn:
        for number in range(10):
            insert_run(conn, build_run(f"run_{number}"))
            queue.add_entry(conn, entry(status=QueueStatus.FAILED, ended_at=NOW))
    done = [prune_store(store, now=LATE) for _ in range(4)]
    assert [(one.runs, one.queue_entries) for one in done] == [(4, 4), (4, 4), (2, 2), (0, 0)]


def test_an_attempt_at_a_forgotten_slice_goes_on_from_the_ledgers_newest(store: StateStore) -> None:
    with store.begin() as conn:
        for _ in range(3):
            attempts.next_attempt(conn, "slice")
    assert prune_store(store, now=NOW + ATTEMPTS_KEPT + timedelta(days=1)).slice_attempts == 1
    with store.begin() as conn:
        assert attempts.next_attempt(conn, "slice", at_least=3) == 4


def test_numbers_of_an_older_release_are_kept_as_long_from_now_on(store: StateStore) -> None:
    with store.begin() as conn:
        attempts.next_attempt(conn, "slice")
        conn.execute(text("UPDATE slice_attempts SET taken_at = NULL"))
    assert prune_store(store, now=LATE).slice_attempts == 0
    assert prune_store(store, now=LATE + ATTEMPTS_KEPT).slice_attempts == 0
    assert prune_store(store, now=LATE + ATTEMPTS_KEPT + timedelta(days=1)).slice_attempts == 1


def test_a_new_table_must_be_pruned_or_said_to_be_bounded() -> None:
    pruned = {one.name for one in vars(retention).values() if isinstance(one, Table)}
    assert {table.name for table in metadata.sorted_tables} == pruned | BOUNDED
