"""Live, ready, and the service that runs alone."""

from __future__ import annotations

import asyncio
import itertools
from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from starlette.responses import JSONResponse

from convergence.api.airflow.stalls import CONFIRM_SECONDS, StallWatch
from convergence.api.platform import readiness
from convergence.api.standalone import create_standalone
from support.api.env import ACME, ApiEnv, InMemoryServices


class Kms:
    def get_primary_version(self) -> str:
        return "key"

    def close(self) -> None:
        pass


@pytest.fixture
def sound(services: InMemoryServices, monkeypatch: pytest.MonkeyPatch) -> InMemoryServices:
    monkeypatch.setattr(services, "check_warehouse", lambda: None)
    vars(services)["kms"] = Kms()
    return services


def test_live_asks_nothing_else(client: TestClient, env: ApiEnv) -> None:
    assert client.get("/health").json()["status"] == "ok"
    assert env.airflow.calls == []


def test_ready_says_how_long_each_took(sound: InMemoryServices, client: TestClient) -> None:
    answer = client.get("/health/ready")
    assert (answer.status_code, answer.json()["status"]) == (200, "ready")
    checks = answer.json()["checks"]
    assert set(checks) == {"state", "warehouse", "kms", "airflow", "tasks"}
    assert all(check["milliseconds"] >= 0 for check in checks.values())


def break_warehouse(services: InMemoryServices, _: ApiEnv, patch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise OSError("secret address")

    patch.setattr(services, "check_warehouse", fail)


def break_airflow(_: InMemoryServices, env: ApiEnv, patch: pytest.MonkeyPatch) -> None:
    sick = {"metadatabase": {"status": "healthy"}, "scheduler": {"status": "unhealthy"}}
    patch.setattr(env.airflow, "broken", lambda _request: JSONResponse(sick))


def stall_tasks(services: InMemoryServices, env: ApiEnv, _: pytest.MonkeyPatch) -> None:
    env.airflow.waits = True
    clock = itertools.count(0.0, CONFIRM_SECONDS)
    watch = StallWatch(services.airflow, after=timedelta(minutes=3), clock=lambda: next(clock))
    vars(services)["stalls"] = watch
    asyncio.run(watch.find_stall())


def hang_warehouse(services: InMemoryServices, _: ApiEnv, patch: pytest.MonkeyPatch) -> None:
    import time

    patch.setattr(readiness, "CHECK_TIMEOUT_SECONDS", 0.5)
    patch.setattr(services, "check_warehouse", lambda: time.sleep(1.2))


@pytest.mark.parametrize(
    ("name", "code", "fail"),
    [
        ("warehouse", "error", break_warehouse),
        ("airflow", "orchestrator_unavailable", break_airflow),
        ("tasks", "no_task_began", stall_tasks),
        ("warehouse", "timeout", hang_warehouse),
    ],
)
def test_not_ready_names_what_fails_and_no_more(
    *,
    sound: InMemoryServices,
    client: TestClient,
    env: ApiEnv,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    code: str,
    fail: Any,
) -> None:
    fail(sound, env, monkeypatch)
    answer = client.get("/health/ready")
    assert (answer.status_code, answer.json()["status"]) == (503, "not_ready")
    checks = answer.json()["checks"]
    assert (checks[name]["status"], checks[name]["code"]) == ("failed", code)
    assert checks["state"]["status"] == "ok"
    assert "secret address" not in answer.text


def test_ready_does_not_ask_again_at_once(
    sound: InMemoryServices, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(sound, "check_warehouse", lambda: asked.append(1))
    for _ in range(5):
        client.get("/health/ready")
    assert len(asked) == 1


def test_alone_it_serves_under_the_prefix_and_the_probe_at_the_root(
    services: InMemoryServices, env: ApiEnv
) -> None:
    with TestClient(create_standalone(services=services)) as client:
        assert client.get("/health").json()["status"] == "ok"
        assert client.get("/api/v1/health").json()["status"] == "ok"
        path = f"/pipelines/run/{ACME}/openai/cost/usage_cost"
        headers = env.headers["acme"]
        answer = client.post(f"/api/v1{path}", json={"date": "2025-11-25"}, headers=headers)
        run_id = answer.json()["run_id"]
        expected = f"http://testserver/api/v1/pipelines/runs/{ACME}/{run_id}"
        assert answer.json()["status_url"] == expected
        assert client.get(expected, headers=headers).status_code == 200
        for nowhere in (path, "/docs", "/", "/health/ready"):
            assert client.post(nowhere, headers=headers).status_code == 404
            assert client.get(nowhere, headers=headers).json()["code"] == "not_found"
