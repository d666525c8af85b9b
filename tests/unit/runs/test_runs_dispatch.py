"""The queue and own schedules: started once, in order, within limits, whatever dies in between."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from convergence.errors import (
    ConfigurationError,
    OrchestratorUnavailableError,
    PipelineUnavailableError,
    RequestInFlightError,
    SubscriptionInactiveError,
)
from convergence.runs.dispatch import LEASE, Dispatcher, DispatchResult, compute_next_time
from convergence.runs.eligibility import Eligibility
from convergence.runs.readiness import DagState, check_readiness
from convergence.runs.records import RunRecords
from convergence.state import org_runs, outbox, pipeline_configs, slots
from convergence.state.leases import hold_lease
from convergence.state.org_runs import OrgRun, RunStatus
from convergence.state.pipeline_configs import PipelineConfig
from convergence.state.queueing import queue
from convergence.state.queueing.queued_run import BACKGROUND, QueuedRun, QueueStatus
from convergence.state.slots import RunLimits
from convergence.state.store import StateStore

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
ACME, GLOBEX = "acme_corp", "globex_inc"
DAG, OTHER_DAG = "openai.cost.usage_cost", "anthropic.usage_cost"
LIMITS = RunLimits(runs_per_day=50, runs_per_month=500, concurrent_runs=2)


@dataclass
class FakeGate:
    suspended: set[str] = field(default_factory=set)
    limits: RunLimits = LIMITS

    def require_eligible(
        self, org_slug: str, *, provider: str | None, now: datetime
    ) -> Eligibility:
        if org_slug in self.suspended:
            raise SubscriptionInactiveError("The subscription is SUSPENDED")
        return Eligibility(org_slug=org_slug, org_status="ACTIVE", limits=self.limits)


@dataclass
class FakeAirflow:
    runs: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    error: BaseException | None = None
    asked: int = 0
    unready: dict[str, PipelineUnavailableError | OrchestratorUnavailableError] = field(
        default_factory=dict
    )

    def check_readiness(self, dag_id: str) -> PipelineUnavailableError | None:
        found = self.unready.get(dag_id)
        if isinstance(found, OrchestratorUnavailableError):
            raise found
        return found

    def trigger(self, dag_id: str, *, dag_run_id: str, conf: Mapping[str, Any]) -> None:
        assert dag_id in {DAG, OTHER_DAG}
        self.asked += 1
        if self.error is not None:
            raise self.error
        self.runs.setdefault(dag_run_id, conf)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[StateStore]:
    store = StateStore.connect(f"sqlite:///{tmp_path / 'state.db'}")
    yield store
    store.close()


@pytest.fixture
def airflow() -> FakeAirflow:
    return FakeAirflow()


@pytest.fixture
def dispatcher(store: StateStore, airflow: FakeAirflow) -> Dispatcher:
    return Dispatcher(store, FakeGate(), airflow)


def add(store: StateStore, org: str = ACME, *, minute: int = 0, **changes: Any) -> QueuedRun:
    at = NOW - timedelta(hours=1) + timedelta(minutes=minute)
    given: dict[str, Any] = {"provider": "OPENAI", "requested_by": "key_1", "enqueued_at": at}
    given |= {"pipeline_id": "openai-usage-cost", "dag_id": DAG}
    entry = QueuedRun(org, **{**given, **changes})
    with store.begin() as conn:
        queue.add_entry(conn, entry)
    return entry


def entry_of(store: StateStore, entry: QueuedRun) -> QueuedRun:
    with store.read() as conn:
        found = queue.get_entry(conn, entry.queue_id)
    assert found is not None
    return found


def run_of(store: StateStore, entry: QueuedRun) -> OrgRun:
    with store.read() as conn:
        run = org_runs.get_run(conn, entry_of(store, entry).run_id or "")
    assert run is not None
    return run


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


# --- own schedules ----------------------------------------------------------------------------


def configure(store: StateStore, *, due_at: datetime | None, **changes: Any) -> None:
    told: dict[str, Any] = {"schedule": "30 4 * * *", "params": {"x": 2}, **changes}
    config = PipelineConfig(
        ACME, "openai-usage-cost", DAG, "OPENAI", NOW, "key_1", next_due_at=due_at, **told
    )
    with store.begin() as conn:
        pipeline_configs.put_config(conn, config)


def test_a_due_schedule_runs_once_however_often_it_was_missed(
    store: StateStore, dispatcher: Dispatcher
) -> None:
    configure(store, due_at=NOW - timedelta(days=3))
    assert dispatcher.dispatch_runs(now=NOW) == DispatchResult(due=1, started=1)
    assert dispatcher.dispatch_runs(now=NOW + timedelta(minutes=1)) == DispatchResult()
    with store.read() as conn:
        [run] = org_runs.list_for_org(conn, ACME, limit=9)
        config = pipeline_configs.get_config(conn, ACME, "openai-usage-cost")
        logged = outbox.list_waiting_rows(conn, "org_scheduled_pipeline_runs")
    assert (run.trigger, run.requested_by, run.params) == ("schedule", "scheduler", {"x": 2})
    assert run.days == ()
    assert config is not None
    assert config.next_due_at == datetime(2026, 11, 22, 4, 30, tzinfo=UTC)
    assert [row["status"] for row in logged] == ["QUEUED", "STARTED"]
    assert {row["due_at"][:10] for row in logged} == {"2026-11-18"}
    assert {row["schedule"] for row in logged} == {"30 4 * * *"}
    assert logged[1]["run_id"] == run.run_id


def test_what_is_not_due_or_switched_off_does_not_run(
    store: StateStore, dispatcher: Dispatcher
) -> None:
    configure(store, due_at=NOW + timedelta(seconds=1))
    assert dispatcher.dispatch_runs(now=NOW) == DispatchResult()
    configure(store, due_at=NOW, enabled=False)
    assert dispatcher.dispatch_runs(now=NOW) == DispatchResult()


def test_a_due_time_is_skipped_while_a_run_of_the_pipeline_waits(
    store: StateStore, dispatcher: Dispatcher
) -> None:
    for minute in range(3):
        add(store, minute=minute)
    configure(store, due_at=NOW)
    assert dispatcher.dispatch_runs(now=NOW) == DispatchResult(started=2, waiting=1)
    with store.read() as conn:
        logged = outbox.list_waiting_rows(conn, "org_scheduled_pipeline_runs")
    assert [row["status"] for row in logged] == ["SKIPPED"]


@pytest.mark.parametrize(
    ("schedule", "zone", "expected"),
    [
        ("30 4 * * *", None, "2026-11-22T04:30:00+00:00"),
        ("30 4 * * *", "Europe/Berlin", "2026-11-22T03:30:00+00:00"),
        ("@quarterly", None, "2027-01-01T00:00:00+00:00"),
        ("@hourly", "Asia/Kolkata", "2026-11-21T12:30:00+00:00"),
    ],
)
def test_a_schedule_is_read_in_its_own_zone(schedule: str, zone: str | None, expected: str) -> None:
    assert compute_next_time(schedule, zone, after=NOW).isoformat() == expected


def test_entries_are_logged_for_the_warehouse(store: StateStore, dispatcher: Dispatcher) -> None:
    add(store)
    dispatcher.dispatch_runs(now=NOW)
    with store.read() as conn:
        rows = outbox.list_waiting_rows(conn, "org_pipeline_execution_queue")
    assert [row["status"] for row in rows] == [QueueStatus.QUEUED, QueueStatus.STARTED]
    assert rows[1]["run_id"].startswith("run_")
