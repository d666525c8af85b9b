"""Background tasks of the API: they ship the outbox and close unfinished runs."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from convergence.api.platform import background_tasks
from convergence.runs.records import GRACE
from convergence.state import org_runs
from convergence.state.org_runs import OrgRun, RunStatus
from convergence.state.retention import RUNS_KEPT
from support.api.env import ACME, USAGE_COST, ApiEnv, InMemoryServices

all_background_tasks = background_tasks.list_tasks  # before the fixtures of this folder replace it


def add_run(services: InMemoryServices, dag_run_id: str, *, age: timedelta) -> str:
    run_id = org_runs.org_run_id(USAGE_COST, dag_run_id, ACME)
    run = OrgRun(
        run_id=run_id,
        org_slug=ACME,
        pipeline_id="openai-usage-cost",
        dag_id=USAGE_COST,
        dag_run_id=dag_run_id,
        trigger="api",
        requested_by="key_1",
        created_at=datetime.now(UTC) - age,
        status=RunStatus.PENDING,
    )
    with services.store.begin() as conn:
        org_runs.insert_run(conn, run)
    return run_id


def test_a_run_that_airflow_never_got_ends_with_a_reason(
    services: InMemoryServices, env: ApiEnv
) -> None:
    lost = add_run(services, "api__lost", age=GRACE * 2)
    young = add_run(services, "api__young", age=timedelta(seconds=5))
    known = add_run(services, "api__known", age=GRACE * 2)
    env.airflow.runs[USAGE_COST, "api__known"] = {
        "dag_id": USAGE_COST, "dag_run_id": "api__known", "state": "running",
    }  # fmt: skip

    asyncio.run(background_tasks.reconcile_runs(services))

    with services.store.read() as conn:
        found = {run_id: org_runs.get_run(conn, run_id) for run_id in (lost, young, known)}
    ended = found[lost]
    assert ended is not None
    assert ended.status == "FAILED"
    assert ended.error is not None
    assert ended.error.code == "run_lost"
    assert all(run is not None and run.is_live for run in (found[young], found[known]))


def test_what_is_old_is_forgotten(services: InMemoryServices) -> None:
    ended = datetime.now(UTC) - RUNS_KEPT
    for dag_run_id, age in (("api__old", timedelta(hours=1)), ("api__young", -timedelta(hours=1))):
        run_id = add_run(services, dag_run_id, age=RUNS_KEPT)
        with services.store.begin() as conn:
            org_runs.transition_run(conn, run_id, RunStatus.FAILED, now=ended - age)
    asyncio.run(background_tasks.prune_state(services))
    with services.store.read() as conn:
        left = org_runs.list_for_org(conn, ACME, limit=9)
    assert [run.dag_run_id for run in left] == ["api__young"]


def test_a_process_does_every_background_task(
    services: InMemoryServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    async def repeat(name: str, _chore: object, *, every: float) -> None:
        assert every > 0
        done.append(name)

    async def all_of_them() -> None:
        await asyncio.gather(*all_background_tasks(services))

    monkeypatch.setattr(background_tasks, "_repeat", repeat)
    asyncio.run(all_of_them())
    assert {"ship the outbox", "reconcile runs", "delete old records"} <= set(done)
    assert {"start waiting runs", "check whether tasks begin"} <= set(done)


def test_a_chore_that_fails_is_tried_again_ever_more_slowly() -> None:
    pauses: list[float] = []
    outcomes = iter([True, False, False, True, True])

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    async def chore() -> None:
        good = next(outcomes, None)
        if good is None:
            raise asyncio.CancelledError
        if not good:
            raise OSError("no network")

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(background_tasks._repeat("test", chore, every=3.0, sleep=sleep))
    assert pauses == [3.0, 3.0, 6.0, 12.0, 3.0, 3.0]
