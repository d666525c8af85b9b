"""Entries of a pipeline that can't start now wait without a slot, and start once."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta

import pytest

from convergence.errors import (
    OrchestratorUnavailableError,
    PipelineUnavailableError,
)
from convergence.runs.dispatch import Dispatcher, DispatchResult
from convergence.runs.readiness import DagState, check_readiness
from convergence.state import org_runs, outbox, slots
from convergence.state.store import StateStore
from unit.runs.dispatching import (
    ACME,
    DAG,
    GLOBEX,
    NOW,
    OTHER_DAG,
    FakeAirflow,
    add,
    configure,
    entry_of,
    run_of,
)

UNREADY = {
    "paused": DagState(DAG, is_paused=True),
    "stale": DagState(DAG, is_paused=False, is_stale=True),
    "broken": DagState(DAG, is_paused=False, has_import_errors=True),
    "missing": None,
}


@pytest.mark.parametrize("state", UNREADY)
def test_entries_of_a_pipeline_that_is_not_ready_wait_without_slot_and_debit(
    store: StateStore, dispatcher: Dispatcher, airflow: FakeAirflow, state: str
) -> None:
    error = check_readiness(UNREADY[state])
    assert error is not None
    airflow.unready[DAG] = error
    entries = [add(store, minute=minute) for minute in range(3)]
    other = add(store, minute=9, pipeline_id="anthropic-usage-cost", dag_id=OTHER_DAG)
    for _ in range(2):
        dispatcher.dispatch_runs(now=NOW)
    assert [entry_of(store, one).status for one in entries] == ["QUEUED"] * 3
    assert {entry_of(store, one).reason for one in entries} == {error.message}
    assert entry_of(store, other).status == "STARTED"
    with store.read() as conn:
        assert slots.count_usage(conn, ACME, now=NOW) == (1, 1, 1)
    airflow.unready.clear()
    assert dispatcher.dispatch_runs(now=NOW) == DispatchResult(started=1, waiting=2)
    assert entry_of(store, entries[0]).reason is None


def test_more_waiting_entries_than_a_pass_takes_do_not_hide_those_that_can_start(
    store: StateStore, dispatcher: Dispatcher, airflow: FakeAirflow
) -> None:
    error = check_readiness(UNREADY["paused"])
    assert error is not None
    airflow.unready[DAG] = error
    for number in range(501):
        add(store, f"org_{number}")
    other = add(store, GLOBEX, minute=9, dag_id=OTHER_DAG)
    assert dispatcher.dispatch_runs(now=NOW) == DispatchResult(started=1, waiting=501)
    assert entry_of(store, other).status == "STARTED"


def test_an_own_schedule_of_a_paused_pipeline_waits_and_starts_once(
    store: StateStore, dispatcher: Dispatcher, airflow: FakeAirflow
) -> None:
    error = check_readiness(UNREADY["paused"])
    assert error is not None
    airflow.unready[DAG] = error
    configure(store, due_at=NOW - timedelta(days=1))
    assert dispatcher.dispatch_runs(now=NOW) == DispatchResult(due=1, waiting=1)
    later = NOW + timedelta(days=3)
    assert dispatcher.dispatch_runs(now=later) == DispatchResult(waiting=1)
    airflow.unready.clear()
    assert dispatcher.dispatch_runs(now=later) == DispatchResult(started=1)
    with store.read() as conn:
        assert slots.count_usage(conn, ACME, now=later).today == 1


def test_a_run_that_airflow_finds_not_loaded_is_taken_back_and_waits(
    store: StateStore, dispatcher: Dispatcher, airflow: FakeAirflow
) -> None:
    entry = add(store)
    airflow.error = PipelineUnavailableError("The pipeline is not loaded.", reason="unknown")
    assert dispatcher.dispatch_runs(now=NOW) == DispatchResult(waiting=1)
    found = entry_of(store, entry)
    assert (found.status, found.reason) == ("QUEUED", "The pipeline is not loaded.")
    assert found.run_id is None
    with store.read() as conn:
        assert slots.count_usage(conn, ACME, now=NOW) == (0, 0, 0)
        assert org_runs.list_for_org(conn, ACME, limit=9) == []
    airflow.error = None
    assert dispatcher.dispatch_runs(now=NOW + timedelta(minutes=1)) == DispatchResult(waiting=1)
    assert dispatcher.dispatch_runs(now=NOW + timedelta(minutes=5)) == DispatchResult(started=1)
    assert run_of(store, entry).debited
    with store.read() as conn:
        queued = outbox.list_waiting_rows(conn, "org_pipeline_execution_queue")
        runs = outbox.list_waiting_rows(conn, "org_meta_pipeline_runs")
    assert [row["status"] for row in queued] == ["QUEUED", "STARTED", "QUEUED", "STARTED"]
    assert [row["status"] for row in runs] == ["PENDING", "CANCELLED", "PENDING", "QUEUED"]


def test_a_start_that_was_cut_short_waits_when_its_pipeline_is_paused_meanwhile(
    store: StateStore, dispatcher: Dispatcher, airflow: FakeAirflow
) -> None:
    entry = add(store)
    airflow.error = KeyboardInterrupt()
    with suppress(KeyboardInterrupt):
        dispatcher.dispatch_runs(now=NOW)
    airflow.error, error = None, check_readiness(UNREADY["paused"])
    assert error is not None
    airflow.unready[DAG] = error
    assert dispatcher.dispatch_runs(now=NOW + timedelta(minutes=1)) == DispatchResult(waiting=1)
    assert entry_of(store, entry).status == "QUEUED"
    with store.read() as conn:
        assert slots.count_usage(conn, ACME, now=NOW).active == 0


def test_while_airflow_does_not_answer_nothing_takes_a_slot(
    store: StateStore, dispatcher: Dispatcher, airflow: FakeAirflow
) -> None:
    airflow.unready[DAG] = OrchestratorUnavailableError("Airflow can't be reached")
    entry = add(store)
    assert dispatcher.dispatch_runs(now=NOW) == DispatchResult(waiting=1)
    assert entry_of(store, entry).run_id is None
    airflow.unready.clear()
    assert dispatcher.dispatch_runs(now=NOW).started == 1
