"""Run and step records: every move is logged in its own transaction, and every run ends."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from convergence.errors import NotFoundError
from convergence.runs.records import GRACE, RunRecords
from convergence.state import org_runs, outbox, slots, unannounced_runs
from convergence.state.org_runs import OrgRun, RunError, RunStatus
from convergence.state.org_steps import OrgStep, StepStatus
from convergence.state.slots import LimitReached, RunLimits, SlotTaken
from convergence.state.store import StateStore
from convergence.tenants import shipping
from support.run_records import admit_run

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
LIMITS = RunLimits(runs_per_day=100, runs_per_month=100, concurrent_runs=100)
RUN = OrgRun(
    run_id="run_1",
    org_slug="acme_corp",
    pipeline_id="openai-usage-cost",
    dag_id="openai.cost.usage_cost",
    dag_run_id="manual__1",
    trigger="api",
    requested_by="key_1",
    created_at=NOW,
    status=RunStatus.PENDING,
    days=(date(2026, 11, 20),),
    request_id="req_1",
)
STEP = OrgStep("run_1", "extract_usage", "acme_corp", "openai.usage", 1, NOW)

Rows = list[tuple[str, dict[str, Any]]]


@pytest.fixture
def store(tmp_path: Path) -> StateStore:
    return StateStore.connect(f"sqlite:///{tmp_path / 'state.db'}")


@pytest.fixture
def records(store: StateStore) -> RunRecords:
    return RunRecords(store)


def shipped(store: StateStore) -> Rows:
    rows: Rows = []
    outbox.ship_rows(store, lambda table, batch: rows.extend((table, row) for _, row in batch))
    return rows


def statuses(rows: Rows, table: str) -> list[str]:
    return [row["status"] for name, row in rows if name == table]


def status(store: StateStore, run_id: str = "run_1") -> RunStatus:
    with store.read() as conn:
        run = org_runs.get_run(conn, run_id)
    assert run is not None
    return run.status


def finish_step(records: RunRecords, outcome: StepStatus, *, error: RunError | None = None) -> bool:
    return records.finish_step(
        "run_1",
        "extract_usage",
        attempt=1,
        status=outcome,
        now=NOW + timedelta(minutes=1),
        rows_processed=12,
        destination_table="acme_corp_dev.openai_usage_daily_raw",
        error=error,
        result={"status": outcome.value, "rows_processed": 12},
    )


def test_a_whole_run_leaves_one_row_per_move(records: RunRecords, store: StateStore) -> None:
    assert admit_run(store, RUN, limits=LIMITS, now=NOW) == SlotTaken("run_1")
    assert records.mark_queued("run_1", now=NOW)
    assert records.begin_run("run_1", now=NOW, days=[date(2026, 11, 19)])
    assert records.start_step(STEP)
    assert finish_step(records, StepStatus.SUCCESS)
    assert records.finish_run("run_1", RunStatus.SUCCESS, now=NOW + timedelta(minutes=2))
    rows = shipped(store)
    assert statuses(rows, "org_meta_pipeline_runs") == ["PENDING", "QUEUED", "RUNNING", "SUCCESS"]
    assert statuses(rows, "org_meta_step_logs") == ["RUNNING", "SUCCESS"]
    run, step = rows[3][1], rows[-1][1]
    assert run == {
        "org_slug": "acme_corp",
        "run_id": "run_1",
        "pipeline_id": "acme_corp-openai-usage-cost",
        "dag_id": "openai.cost.usage_cost",
        "dag_run_id": "manual__1",
        "trigger": "api",
        "status": "SUCCESS",
        "days": ["2026-11-19"],
        "request_id": "req_1",
        "requested_by": "key_1",
        "error_code": None,
        "error_message": None,
        "rows_processed": 12,
        "recorded_at": "2026-11-21T12:02:00.000000Z",
        "started_at": "2026-11-21T12:00:00.000000Z",
        "ended_at": "2026-11-21T12:02:00.000000Z",
        "created_at": "2026-11-21T12:00:00.000000Z",
        "params": None,
        "debited": True,
    }
    assert json.loads(step["result"]) == {"status": "SUCCESS", "rows_processed": 12}


def test_moves_that_are_not_legal_leave_no_row(records: RunRecords, store: StateStore) -> None:
    admit_run(store, RUN, limits=LIMITS, now=NOW)
    shipped(store)
    assert not records.finish_run("run_1", RunStatus.SUCCESS, now=NOW)
    assert not finish_step(records, StepStatus.SUCCESS)
    assert admit_run(store, RUN, limits=LIMITS, now=NOW) == SlotTaken("run_1", taken_before=True)
    assert shipped(store) == []


def test_a_refused_run_leaves_nothing(records: RunRecords, store: StateStore) -> None:
    admit_run(store, RUN, limits=LIMITS, now=NOW)
    shipped(store)
    second = replace(RUN, run_id="run_2")
    outcome = admit_run(store, second, limits=replace(LIMITS, concurrent_runs=1), now=NOW)
    assert isinstance(outcome, LimitReached)
    assert shipped(store) == []
    with pytest.raises(NotFoundError):
        records.begin_run("run_2", now=NOW)


def test_a_cancelled_run_does_not_begin(records: RunRecords, store: StateStore) -> None:
    admit_run(store, RUN, limits=LIMITS, now=NOW)
    assert records.finish_run("run_1", RunStatus.CANCELLED, now=NOW)
    assert not records.begin_run("run_1", now=NOW, days=[date(2026, 1, 1)])
    assert status(store) is RunStatus.CANCELLED


def test_a_failed_run_begins_again_when_its_airflow_run_is_cleared(
    records: RunRecords, store: StateStore
) -> None:
    admit_run(store, RUN, limits=LIMITS, now=NOW)
    records.finish_run("run_1", RunStatus.FAILED, now=NOW, error=RunError("x", "y"))
    assert records.begin_run("run_1", now=NOW)
    assert statuses(shipped(store), "org_meta_pipeline_runs") == ["PENDING", "FAILED", "RUNNING"]


def test_a_run_that_airflow_refused_ends_and_costs_nothing(
    records: RunRecords, store: StateStore
) -> None:
    admit_run(store, RUN, limits=LIMITS, now=NOW)
    assert records.reject_run("run_1", now=NOW, error=RunError("unavailable", "no answer"))
    with store.read() as conn:
        assert slots.count_usage(conn, "acme_corp", now=NOW) == (0, 0, 0)


# --- every run ends -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "state", "expected"),
    [
        (StepStatus.SUCCESS, "success", (RunStatus.SUCCESS, None)),
        (StepStatus.SKIPPED, "success", (RunStatus.SUCCESS, None)),
        (StepStatus.SUCCESS, "failed", (RunStatus.FAILED, "run_incomplete")),
        (StepStatus.FAILED, "success", (RunStatus.FAILED, "provider_refused")),
        (StepStatus.RUNNING, "success", (RunStatus.FAILED, "step_lost")),
    ],
)
def test_an_open_run_ends_as_its_steps_say(
    store: StateStore, step: StepStatus, state: str, expected: tuple[RunStatus, str | None]
) -> None:
    records = RunRecords(store)
    admit_run(store, RUN, limits=LIMITS, now=NOW)
    records.start_step(STEP)
    if step is not StepStatus.RUNNING:
        error = RunError("provider_refused", "401") if step is StepStatus.FAILED else None
        finish_step(records, step, error=error)
    succeeded = state == "success"
    (closed,) = records.close_dag_run(RUN.dag_id, RUN.dag_run_id, now=NOW, succeeded=succeeded)
    assert (closed.status, closed.error.code if closed.error else None) == expected
    assert records.close_dag_run(RUN.dag_id, RUN.dag_run_id, now=NOW) == []
    assert status(store) is expected[0]


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("queued", RunStatus.PENDING),
        ("running", RunStatus.PENDING),
        ("failed", RunStatus.FAILED),
        ("success", RunStatus.SUCCESS),
        (None, RunStatus.FAILED),
    ],
)
def test_a_dangling_run_ends_once_airflow_no_longer_has_it(
    records: RunRecords, store: StateStore, state: str | None, expected: RunStatus
) -> None:
    admit_run(store, RUN, limits=LIMITS, now=NOW)
    assert records.close_dangling(lambda _dag, _run: state, now=NOW) == []
    later = NOW + GRACE + timedelta(seconds=1)
    records.close_dangling(lambda _dag, _run: state, now=later)
    assert status(store) is expected


def test_airflow_is_asked_once_for_the_runs_of_a_fleet(
    records: RunRecords, store: StateStore
) -> None:
    asked: list[tuple[str, str]] = []

    def state_of(dag_id: str, dag_run_id: str) -> None:
        asked.append((dag_id, dag_run_id))

    for number in range(5):
        org = f"org_{number}"
        run = replace(RUN, run_id=f"run_{number}", org_slug=org)
        admit_run(store, run, limits=LIMITS, now=NOW)
    closed = records.close_dangling(state_of, now=NOW + timedelta(hours=1))
    assert asked == [(RUN.dag_id, RUN.dag_run_id)]
    assert {run.status for run in closed} == {RunStatus.FAILED}
    assert status(store, "run_4") is RunStatus.FAILED


def test_what_others_ended_is_noted_to_be_told_and_what_its_last_task_ended_is_not(
    records: RunRecords, store: StateStore
) -> None:
    for number in range(3):
        run = replace(RUN, run_id=f"run_{number}", dag_run_id=f"manual__{number}")
        admit_run(store, run, limits=LIMITS, now=NOW)
    records.finish_run("run_0", RunStatus.FAILED, now=NOW)
    records.close_dag_run(RUN.dag_id, "manual__0", now=NOW)
    records.close_dag_run(RUN.dag_id, "manual__1", now=NOW, succeeded=False)
    records.close_dangling(lambda _dag, _run: None, now=NOW + timedelta(hours=1))
    with store.begin() as conn:
        noted = unannounced_runs.list_unannounced(conn, limit=9)
        unannounced_runs.remove_unannounced(conn, noted[0])
        rest = unannounced_runs.list_unannounced(conn, limit=9)
    assert [key.dag_run_id for key in noted] == ["manual__1", "manual__2"]
    assert rest == noted[1:]


def test_rows_go_to_the_central_dataset(
    store: StateStore, records: RunRecords, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[tuple[str, int]] = []

    def append(_w: object, table: object, rows: list[object]) -> None:
        sent.append((str(table), len(rows)))

    monkeypatch.setattr(shipping, "append_rows", append)
    admit_run(store, RUN, limits=LIMITS, now=NOW)
    assert shipping.ship_outbox(store, None) == 1  # type: ignore[arg-type]  # handed on to `append` alone
    assert sent == [("organizations.org_meta_pipeline_runs", 1)]
