"""Reading and cancelling runs."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from starlette.responses import JSONResponse, Response

from convergence.metering import Resource, Use
from convergence.state import org_runs, org_steps
from convergence.state.org_runs import OrgRun, RunError, RunStatus
from convergence.state.org_steps import OrgStep, StepStatus
from support.api.env import ACME, GLOBEX, USAGE_COST, ApiEnv, InMemoryServices

NOW = datetime.now(UTC)
RUNS = f"/pipelines/runs/{ACME}"


@pytest.fixture
def acme(env: ApiEnv) -> dict[str, str]:
    return env.headers["acme"]


def add_run(services: InMemoryServices, number: int = 1, **changes: Any) -> OrgRun:
    values: dict[str, Any] = {
        "run_id": f"run_{number:024x}",
        "org_slug": ACME,
        "pipeline_id": "openai-usage-cost",
        "dag_id": USAGE_COST,
        "dag_run_id": f"api__{number}",
        "trigger": "api",
        "requested_by": "key_1",
        "created_at": NOW - timedelta(minutes=number),
        "status": RunStatus.RUNNING,
        "days": (date(2025, 11, 25),),
        **changes,
    }
    run = OrgRun(**values)
    with services.store.begin() as conn:
        assert org_runs.insert_run(conn, run)
    return run


def in_airflow(env: ApiEnv, run: OrgRun, state: str) -> None:
    env.airflow.runs[run.dag_id, run.dag_run_id] = {
        "dag_id": run.dag_id, "dag_run_id": run.dag_run_id, "state": state,
    }  # fmt: skip


def add_step(services: InMemoryServices, run: OrgRun, step: str, **ended: Any) -> None:
    begun = OrgStep(
        run_id=run.run_id, step=step, org_slug=run.org_slug, processor="openai.usage", attempt=1,
        started_at=run.created_at + timedelta(seconds=1),
    )  # fmt: skip
    with services.store.begin() as conn:
        org_steps.start_step(conn, begun)
        if ended:
            org_steps.finish_step(conn, run.run_id, step, attempt=1, now=NOW, **ended)


def test_a_run_is_told_with_its_steps_rows_and_tables(
    client: TestClient, env: ApiEnv, acme: dict[str, str], services: InMemoryServices
) -> None:
    run = add_run(services, request_id="req_1", params={"model": "gpt"})
    in_airflow(env, run, "running")
    table = "acme_corp_dev.openai_usage_daily_raw"
    add_step(
        services, run, "extract_usage", status=StepStatus.SUCCESS, rows_processed=42,
        destination_table=table, result={"status": "SUCCESS", "days_published": 3},
        used={Resource.PROVIDER: Use(calls=4, retries=1, pages=3, bytes_received=5_000)},
    )  # fmt: skip
    add_step(
        services, run, "transform_cost", status=StepStatus.FAILED,
        error=RunError("warehouse_unavailable", "BigQuery did not answer"),
        used={Resource.QUERY: Use(calls=1, bytes_billed=2**40, slot_ms=70)},
    )  # fmt: skip

    body = client.get(f"{RUNS}/{run.run_id}", headers=acme).json()

    assert body["status"] == "RUNNING"
    assert body["rows_processed"] == 42
    assert body["tables"] == [table]
    assert body["params"] == {"model": "gpt"}
    assert [(step["step"], step["status"]) for step in body["steps"]] == [
        ("extract_usage", "SUCCESS"), ("transform_cost", "FAILED"),
    ]  # fmt: skip
    assert body["steps"][1]["error"]["code"] == "warehouse_unavailable"
    assert body["steps"][0]["report"] == {"days_published": 3}
    assert body["cost"] == {
        "bytes_billed": 2**40,
        "slot_ms": 70,
        "jobs": {"load": 0, "query": 1, "stream": 0},
        "provider": {"requests": 4, "retries": 1, "pages": 3, "bytes": 5_000},
        "estimated_cost": "6.250000000",
        "currency": "USD",
    }
    assert body["links"]["cancel"].endswith("/cancel")


@pytest.mark.parametrize(
    ("airflow_says", "expected", "code"),
    [("success", "SUCCESS", None), ("failed", "FAILED", "run_incomplete"),
     ("running", "RUNNING", None), ("queued", "RUNNING", None)],
)  # fmt: skip
def test_a_run_that_airflow_ended_is_ended_when_it_is_read(
    *,
    client: TestClient,
    env: ApiEnv,
    acme: dict[str, str],
    services: InMemoryServices,
    airflow_says: str,
    expected: str,
    code: str | None,
) -> None:
    run = add_run(services)
    in_airflow(env, run, airflow_says)
    for _ in range(2):
        body = client.get(f"{RUNS}/{run.run_id}", headers=acme).json()
        assert (body["status"], body.get("error", {}).get("code")) == (expected, code)


def test_a_run_is_told_as_recorded_when_airflow_does_not_answer(
    client: TestClient, env: ApiEnv, acme: dict[str, str], services: InMemoryServices
) -> None:
    run = add_run(services)

    def broken(_: object) -> Response:
        return JSONResponse({}, status_code=503)

    env.airflow.broken = broken
    assert client.get(f"{RUNS}/{run.run_id}", headers=acme).json()["status"] == "RUNNING"


def test_an_ended_run_asks_airflow_nothing(
    client: TestClient, env: ApiEnv, acme: dict[str, str], services: InMemoryServices
) -> None:
    run = add_run(services, status=RunStatus.SUCCESS)
    client.get(f"{RUNS}/{run.run_id}", headers=acme)
    assert env.airflow.calls == []


@pytest.mark.parametrize("verb", ["get", "post"])
def test_another_orgs_run_and_a_missing_one_are_the_same_404(
    client: TestClient, acme: dict[str, str], services: InMemoryServices, verb: str
) -> None:
    foreign = add_run(services, org_slug=GLOBEX)
    suffix = "" if verb == "get" else "/cancel"
    answers = [
        client.request(verb, f"{RUNS}/{run_id}{suffix}", headers=acme)
        for run_id in (foreign.run_id, "run_ffffffffffffffffffffffff", "x", "%00", "a" * 500)
    ]
    assert {answer.status_code for answer in answers} == {404}
    bodies = [{**answer.json(), "request_id": ""} for answer in answers]
    assert all(body == bodies[0] for body in bodies)
    with services.store.read() as conn:
        kept = org_runs.get_run(conn, foreign.run_id)
    assert kept is not None
    assert kept.status == "RUNNING"


def test_pages_hold_every_run_once_newest_first(
    client: TestClient, acme: dict[str, str], services: InMemoryServices
) -> None:
    runs = [add_run(services, number, created_at=NOW) for number in range(1, 8)]
    add_run(services, 99, org_slug=GLOBEX)
    seen: list[str] = []
    cursor: dict[str, str] = {}
    for _ in range(4):
        page = client.get(RUNS, params={"limit": "3", **cursor}, headers=acme).json()
        seen += [run["run_id"] for run in page["runs"]]
        if "next_cursor" not in page:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert seen == sorted((run.run_id for run in runs), reverse=True)


def test_runs_are_filtered_by_status_and_pipeline(
    client: TestClient, acme: dict[str, str], services: InMemoryServices
) -> None:
    add_run(services, 1, status=RunStatus.FAILED)
    add_run(services, 2, status=RunStatus.SUCCESS)
    add_run(services, 3, status=RunStatus.SUCCESS, pipeline_id="openai-seed-csv")
    query: dict[str, Any] = {"status": ["FAILED", "SUCCESS"], "pipeline_id": "openai-usage-cost"}
    page = client.get(RUNS, params=query, headers=acme).json()
    assert [run["status"] for run in page["runs"]] == ["FAILED", "SUCCESS"]


def test_cancelling_a_triggered_run_stops_it_in_airflow(
    client: TestClient, env: ApiEnv, acme: dict[str, str], services: InMemoryServices
) -> None:
    run = add_run(services)
    in_airflow(env, run, "running")
    body = client.post(f"{RUNS}/{run.run_id}/cancel", headers=acme).json()
    assert (body["status"], body["error"]["code"]) == ("CANCELLED", "cancelled")
    assert "cancel" not in body["links"]
    assert env.airflow.runs[run.dag_id, run.dag_run_id]["state"] == "failed"
    again = client.post(f"{RUNS}/{run.run_id}/cancel", headers=acme)
    assert (again.status_code, again.json()["reason"]) == (409, "CANCELLED")


def test_cancelling_its_part_of_a_scheduled_run_leaves_the_others(
    client: TestClient, env: ApiEnv, acme: dict[str, str], services: InMemoryServices
) -> None:
    mine = add_run(services, 1, trigger="schedule", dag_run_id="scheduled__1")
    other = add_run(services, 2, trigger="schedule", dag_run_id="scheduled__1", org_slug=GLOBEX)
    in_airflow(env, mine, "running")
    assert client.post(f"{RUNS}/{mine.run_id}/cancel", headers=acme).json()["status"] == "CANCELLED"
    assert env.airflow.runs[mine.dag_id, mine.dag_run_id]["state"] == "running"
    with services.store.read() as conn:
        kept = org_runs.get_run(conn, other.run_id)
    assert kept is not None
    assert kept.is_live
