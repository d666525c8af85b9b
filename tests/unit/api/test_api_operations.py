"""Calls that are a platform DAG: answered with its result, or with where to ask for it."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fastapi.testclient import TestClient

from convergence.api.airflow.operations import OperationKind
from support.api.env import ApiEnv, InMemoryServices

BOOTSTRAP, DRYRUN = "setup.initial.onetime_bootstrap", "setup.organizations.dryrun"
MADE = {"status": "SUCCESS", "tables_created": ["org_profiles"], "views_created": []}


@pytest.fixture
def root(env: ApiEnv) -> dict[str, str]:
    env.airflow.add_dag(BOOTSTRAP)
    env.airflow.add_dag(DRYRUN)
    env.airflow.state_of_new_runs = "success"
    env.airflow.results = {"create_central_dataset": MADE}
    return env.headers["root"]


def test_bootstrap_answers_with_what_its_dag_returned(
    client: TestClient, env: ApiEnv, root: dict[str, str]
) -> None:
    answer = client.post("/admin/bootstrap", json={"force_recreate_dataset": False}, headers=root)
    assert answer.status_code == 200
    assert (
        answer.json() | {"status": "SUCCESS", "tables_created": ["org_profiles"]} == answer.json()
    )
    [run] = env.airflow.triggered(BOOTSTRAP)
    assert run["conf"] == {"force_recreate_dataset": False}


@pytest.mark.parametrize("sent", [{"json": {}}, {}])
def test_bootstrap_takes_an_empty_body(
    client: TestClient, root: dict[str, str], sent: dict[str, Any]
) -> None:
    assert client.post("/admin/bootstrap", headers=root, **sent).status_code == 200


def test_recreating_the_dataset_needs_its_name_typed(
    client: TestClient, env: ApiEnv, root: dict[str, str]
) -> None:
    body: dict[str, Any] = {"force_recreate_dataset": True}
    for confirmation in (None, "yes", "Organizations"):
        sent = {**body, "confirmation": confirmation} if confirmation else body
        answer = client.post("/admin/bootstrap", json=sent, headers=root)
        assert answer.status_code == 422
        assert "organizations" in answer.json()["errors"][0]["message"]
    assert not env.airflow.runs
    sent = {**body, "confirmation": "organizations"}
    assert client.post("/admin/bootstrap", json=sent, headers=root).status_code == 200
    [run] = env.airflow.triggered(BOOTSTRAP)
    assert run["conf"] == sent


@pytest.mark.parametrize("value", ["false", 0, "no", None, []])
def test_a_flag_is_true_or_false(client: TestClient, root: dict[str, str], value: object) -> None:
    body = {"force_recreate_dataset": value}
    assert client.post("/admin/bootstrap", json=body, headers=root).status_code == 422


def test_a_long_call_is_answered_with_where_to_ask(
    client: TestClient, env: ApiEnv, root: dict[str, str]
) -> None:
    env.airflow.state_of_new_runs = "running"
    answer = client.post("/admin/bootstrap", json={}, headers=root)
    assert (answer.status_code, answer.json()["status"]) == (202, "RUNNING")
    path = answer.json()["status_url"].removeprefix("http://testserver")
    assert client.get(path, headers=root).json()["status"] == "RUNNING"
    [run] = env.airflow.triggered(BOOTSTRAP)
    run["state"] = "success"
    told = client.get(path, headers=root).json()
    assert (told["status"], told["tables_created"]) == ("SUCCESS", ["org_profiles"])


def test_an_operation_that_failed_says_where(
    client: TestClient, env: ApiEnv, root: dict[str, str]
) -> None:
    env.airflow.state_of_new_runs = "failed"
    answer = client.post("/admin/bootstrap", json={}, headers=root)
    assert (answer.status_code, answer.json()["code"]) == (500, "operation_failed")
    assert "create_central_dataset" in answer.json()["detail"]
    [run] = env.airflow.triggered(BOOTSTRAP)
    told = client.get(f"/admin/operations/{run['dag_run_id']}", headers=root).json()
    assert told["status"] == "FAILED"


@pytest.mark.parametrize("paused", [True, False])
def test_a_paused_or_missing_dag_is_a_conflict(
    client: TestClient, env: ApiEnv, root: dict[str, str], *, paused: bool
) -> None:
    env.airflow.dags.clear()
    if paused:
        env.airflow.add_dag(BOOTSTRAP, is_paused=True)
    answer = client.post("/admin/bootstrap", json={}, headers=root)
    assert (answer.status_code, answer.json()["code"]) == (409, "pipeline_unavailable")


@pytest.mark.parametrize("operation_id", ["x", "bootstrap__x", "scheduled__2025", "openai__x"])
def test_an_unknown_operation_is_not_found(
    client: TestClient, root: dict[str, str], operation_id: str
) -> None:
    answer = client.get(f"/admin/operations/{operation_id}", headers=root)
    assert answer.status_code == 404


def test_bootstrap_runs_once_at_a_time(
    client: TestClient, env: ApiEnv, root: dict[str, str]
) -> None:
    env.airflow.state_of_new_runs = "running"
    barrier = threading.Barrier(4)

    def call(_: int) -> int:
        barrier.wait()
        return client.post("/admin/bootstrap", json={}, headers=root).status_code

    with ThreadPoolExecutor(4) as pool:
        codes = sorted(pool.map(call, range(4)))
    assert codes == [202, 409, 409, 409]
    assert len(env.airflow.runs) == 1
    assert client.post("/admin/bootstrap", json={}, headers=root).status_code == 202


def test_an_idempotency_key_makes_bootstrap_one_call(
    client: TestClient, env: ApiEnv, root: dict[str, str]
) -> None:
    headers = {**root, "Idempotency-Key": "first"}
    first = client.post("/admin/bootstrap", json={}, headers=headers)
    again = client.post("/admin/bootstrap", json={}, headers=headers)
    assert first.json() == again.json()
    assert len(env.airflow.runs) == 1


def test_a_dry_run_answers_with_every_check(
    client: TestClient, env: ApiEnv, root: dict[str, str]
) -> None:
    checks = [{"check": "slug", "passed": False}]
    found = {"status": "SUCCESS", "ready_for_onboarding": False, "checks": checks}
    env.airflow.results = {"validate_organization": found}
    body = {"org_slug": "Not A Slug", "company_name": "A", "admin_email": "nobody"}
    answer = client.post("/organizations/dryrun", json=body, headers=root)
    assert answer.status_code == 200
    assert answer.json()["ready_for_onboarding"] is False
    assert answer.json()["checks"] == checks
    [run] = env.airflow.triggered(DRYRUN)
    assert run["conf"] == {**body, "subscription_plan": "STARTER"}


def test_a_dag_is_given_its_declared_params_and_nothing_else(
    client: TestClient, env: ApiEnv, root: dict[str, str], services: InMemoryServices
) -> None:
    del root  # makes the DAG known
    values = {"force_recreate_dataset": False, "api_key": "never", "request_id": "req_1"}

    async def start() -> str:
        return await services.operations.start_operation(
            OperationKind.BOOTSTRAP, about="platform", values=values
        )

    assert client.portal is not None
    assert client.portal.call(start).startswith("bootstrap__platform__")
    [run] = env.airflow.triggered(BOOTSTRAP)
    assert run["conf"] == {"force_recreate_dataset": False}
