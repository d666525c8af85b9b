"""The queue and own schedules: started once, in order, within limits, whatever dies in between."""

from __future__ import annotations

from contextlib import suppress
from datetime import date, timedelta

import pytest

from convergence.errors import (
    ConfigurationError,
    OrchestratorUnavailableError,
    RequestInFlightError,
)
from convergence.runs.dispatch import LEASE, Dispatcher, DispatchResult
from convergence.runs.records import RunRecords
from convergence.state import outbox, slots
from convergence.state.leases import hold_lease
from convergence.state.org_runs import RunStatus
from convergence.state.queueing.queued_run import BACKGROUND, QueueStatus
from convergence.state.slots import RunLimits
from convergence.state.store import StateStore
from unit.runs.dispatching import (
    ACME,
    GLOBEX,
    NOW,
    FakeAirflow,
    FakeGate,
    add,
    configure,
    entry_of,
    run_of,
)


def test_an_entry_runs_with_its_orgs_settings_where_it_says_nothing_else(
    store: StateStore, dispatcher: Dispatcher
) -> None:
    entry = add(store, params={"x": 1})
    configure(store, due_at=None, params={"x": 0, "y": 2})
    dispatcher.dispatch_runs(now=NOW)
    assert run_of(store, entry).params == {"x": 1, "y": 2}


def test_an_entry_of_a_pipeline_that_was_switched_off_meanwhile_fails_with_the_reason(
    store: StateStore, dispatcher: Dispatcher, airflow: FakeAirflow
) -> None:
    entry = add(store)
    configure(store, due_at=None, enabled=False)
    assert dispatcher.dispatch_runs(now=NOW) == DispatchResult(failed=1)
    assert "disabled this pipeline" in (entry_of(store, entry).reason or "")
    assert airflow.runs == {}


def test_an_entry_becomes_the_run_that_was_asked_for(
    store: StateStore, dispatcher: Dispatcher, airflow: FakeAirflow
) -> None:
    entry = add(store, days=(date(2026, 11, 1),), params={"x": 1}, request_id="req_1")
    assert dispatcher.dispatch_runs(now=NOW) == DispatchResult(started=1)
    run = run_of(store, entry)
    assert (run.status, run.days, run.params) == (RunStatus.QUEUED, entry.days, {"x": 1})
    assert (run.requested_by, run.request_id) == ("key_1", "req_1")
    assert airflow.runs == {f"queue__{entry.queue_id}": {"org_run_id": run.run_id}}
    assert dispatcher.dispatch_runs(now=NOW) == DispatchResult()
    assert airflow.asked == 1


def test_what_the_plan_has_no_room_for_waits_and_starts_when_there_is(
    store: StateStore, dispatcher: Dispatcher
) -> None:
    entries = [add(store, minute=minute) for minute in range(3)]
    urgent = add(store, minute=9, priority=5)
    other = add(store, GLOBEX, minute=10)
    assert dispatcher.dispatch_runs(now=NOW) == DispatchResult(started=3, waiting=2)
    status = [entry_of(store, entry).status for entry in (urgent, *entries, other)]
    assert status == ["STARTED", "STARTED", "QUEUED", "QUEUED", "STARTED"]
    assert entry_of(store, entries[1]).reason == "The plan allows 2 runs at once; 2 are used."

    RunRecords(store).finish_run(run_of(store, urgent).run_id, RunStatus.CANCELLED, now=NOW)
    assert dispatcher.dispatch_runs(now=NOW) == DispatchResult(started=1, waiting=1)
    assert entry_of(store, entries[1]).status == "STARTED"
    assert entry_of(store, entries[1]).reason is None


def test_an_entry_follows_the_run_before_it_and_holds_nobody_else_up(
    store: StateStore, dispatcher: Dispatcher
) -> None:
    first = add(store)
    second = add(store, minute=1, follows=first.queue_id)
    third = add(store, minute=2)
    assert dispatcher.dispatch_runs(now=NOW) == DispatchResult(started=2, waiting=1)
    assert [entry_of(store, one).status for one in (second, third)] == ["QUEUED", "STARTED"]
    records = RunRecords(store)
    records.begin_run(run_of(store, first).run_id, now=NOW)
    assert dispatcher.dispatch_runs(now=NOW).started == 0
    records.finish_run(run_of(store, first).run_id, RunStatus.SUCCESS, now=NOW)
    assert dispatcher.dispatch_runs(now=NOW) == DispatchResult(started=1)


@pytest.mark.parametrize("status", [RunStatus.FAILED, RunStatus.CANCELLED])
def test_what_follows_an_unsuccessful_run_does_not_start(
    store: StateStore, dispatcher: Dispatcher, airflow: FakeAirflow, status: RunStatus
) -> None:
    first = add(store)
    second = add(store, minute=1, follows=first.queue_id)
    last = add(store, minute=2, follows=second.queue_id)
    dispatcher.dispatch_runs(now=NOW)
    RunRecords(store).finish_run(run_of(store, first).run_id, status, now=NOW)
    for _ in range(2):
        dispatcher.dispatch_runs(now=NOW)
    assert [entry_of(store, one).status for one in (second, last)] == ["FAILED", "FAILED"]
    assert entry_of(store, second).reason == "the run before it, openai-usage-cost, did not succeed"
    assert airflow.asked == 1


def test_what_follows_an_entry_that_is_forgotten_starts(
    store: StateStore, dispatcher: Dispatcher
) -> None:
    add(store, follows="que_of_last_year")
    assert dispatcher.dispatch_runs(now=NOW) == DispatchResult(started=1)


def test_a_run_that_is_not_debited_takes_no_room(store: StateStore, dispatcher: Dispatcher) -> None:
    free = add(store, debited=False)
    for minute in (1, 2, 3):
        add(store, minute=minute)
    late = add(store, minute=4, debited=False)
    assert dispatcher.dispatch_runs(now=NOW) == DispatchResult(started=4, waiting=1)
    assert not run_of(store, free).debited
    with store.read() as conn:
        use = slots.count_usage(conn, ACME, now=NOW)
    assert (use.today, use.active) == (2, 2)
    assert run_of(store, late).status is RunStatus.QUEUED


def test_one_orgs_pass_leaves_the_others_alone(store: StateStore, dispatcher: Dispatcher) -> None:
    mine, other = add(store), add(store, GLOBEX)
    assert dispatcher.dispatch_runs(now=NOW, org_slug=ACME) == DispatchResult(started=1)
    assert entry_of(store, mine).status == "STARTED"
    assert entry_of(store, other).status == "QUEUED"


def test_who_may_not_run_any_more_is_told_why(store: StateStore, airflow: FakeAirflow) -> None:
    entry = add(store)
    gate = FakeGate(suspended={ACME})
    assert Dispatcher(store, gate, airflow).dispatch_runs(now=NOW) == DispatchResult(failed=1)
    assert entry_of(store, entry).reason == "The subscription is SUSPENDED"
    assert not airflow.asked


def test_a_run_that_airflow_refuses_ends_and_gives_its_slot_back(
    store: StateStore, dispatcher: Dispatcher, airflow: FakeAirflow
) -> None:
    entry = add(store)
    airflow.error = ConfigurationError("The pipeline can't run as it is configured.")
    dispatcher.dispatch_runs(now=NOW)
    run = run_of(store, entry)
    assert run.status is RunStatus.FAILED
    with store.read() as conn:
        assert slots.count_usage(conn, ACME, now=NOW).today == 0


def test_runs_in_the_background_leave_a_slot_and_a_quarter_of_the_quota(
    store: StateStore, dispatcher: Dispatcher
) -> None:
    for minute in range(3):
        add(store, minute=minute, priority=BACKGROUND)
    assert dispatcher.dispatch_runs(now=NOW) == DispatchResult(started=1, waiting=2)
    own = add(store, minute=30)
    assert dispatcher.dispatch_runs(now=NOW) == DispatchResult(started=1, waiting=2)
    assert entry_of(store, own).status == "STARTED"


def test_runs_in_the_background_do_not_use_up_the_day(store: StateStore) -> None:
    airflow = FakeAirflow()
    gate = FakeGate(limits=RunLimits(runs_per_day=4, runs_per_month=500, concurrent_runs=9))
    dispatcher = Dispatcher(store, gate, airflow)
    imports = [add(store, minute=minute, priority=BACKGROUND) for minute in range(5)]
    assert dispatcher.dispatch_runs(now=NOW).started == 3
    assert entry_of(store, imports[3]).reason == (
        "Imports may use 3 runs per UTC day; 3 are used. "
        "The rest is reserved for requested and scheduled runs."
    )
    add(store, minute=30)
    assert dispatcher.dispatch_runs(now=NOW).started == 1


@pytest.mark.parametrize("error", [OrchestratorUnavailableError("down"), KeyboardInterrupt()])
def test_a_start_that_was_cut_short_is_taken_up_again_as_the_same_run(
    store: StateStore, dispatcher: Dispatcher, airflow: FakeAirflow, error: BaseException
) -> None:
    entry = add(store)
    airflow.error = error
    with suppress(KeyboardInterrupt):
        dispatcher.dispatch_runs(now=NOW)
    assert run_of(store, entry).status is RunStatus.PENDING
    airflow.error = None
    dispatcher.dispatch_runs(now=NOW + timedelta(minutes=1))
    assert run_of(store, entry).status is RunStatus.QUEUED
    assert list(airflow.runs) == [f"queue__{entry.queue_id}"]


def test_two_processes_are_never_at_it_together(store: StateStore, dispatcher: Dispatcher) -> None:
    add(store)
    with hold_lease(store, LEASE), pytest.raises(RequestInFlightError):
        dispatcher.dispatch_runs(now=NOW)
    assert dispatcher.dispatch_runs(now=NOW).started == 1


def test_entries_are_logged_for_the_warehouse(store: StateStore, dispatcher: Dispatcher) -> None:
    add(store)
    dispatcher.dispatch_runs(now=NOW)
    with store.read() as conn:
        rows = outbox.list_waiting_rows(conn, "org_pipeline_execution_queue")
    assert [row["status"] for row in rows] == [QueueStatus.QUEUED, QueueStatus.STARTED]
    assert rows[1]["run_id"].startswith("run_")
