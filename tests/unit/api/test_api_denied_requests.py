"""Denied requests in the audit log: recorded once, then counted; a flood costs one row."""

from __future__ import annotations

from typing import Any

from fastapi.testclient import TestClient

from convergence.errors import StateUnavailableError
from convergence.state import outbox
from convergence.tenants import audit
from support.api.env import ACME, GLOBEX, ApiEnv, InMemoryServices

RUN = f"/pipelines/run/{ACME}/openai/cost/usage_cost"


def list_denials(services: InMemoryServices) -> list[dict[str, Any]]:
    with services.store.read() as conn:
        return outbox.list_waiting_rows(conn, "org_audit_logs")


def test_a_foreign_path_is_told_once_and_then_counted(
    client: TestClient, env: ApiEnv, services: InMemoryServices
) -> None:
    for _ in range(5):
        client.get(f"/pipelines/runs/{GLOBEX}", headers=env.headers["acme"])
    [row] = list_denials(services)
    assert (row["org_slug"], row["actor"], row["result"]) == (ACME, f"key_of_{ACME}", "REFUSED")
    assert row["action"] == "GET /pipelines/runs/{org}"
    assert row["target"].endswith(GLOBEX)
    assert row["request_id"].startswith("req_")
    assert row["details"] == '{"code":"not_found"}'
    services.denied_requests.flush()
    assert list_denials(services)[1]["details"] == '{"code":"not_found","times":4}'
    services.denied_requests.flush()
    assert len(list_denials(services)) == 2


def test_a_flood_without_a_key_costs_one_row(
    client: TestClient, services: InMemoryServices
) -> None:
    for number in range(300):
        client.get(f"/pipelines/runs/org_{number}")
    assert list_denials(services) == []
    services.denied_requests.flush()
    rows = list_denials(services)
    assert {row["org_slug"] for row in rows} == {"~platform"}
    assert {row["actor"] for row in rows} == {"anonymous"}
    assert sum(int(row["details"].rpartition(":")[2].rstrip("}")) for row in rows) == 300
    assert len(rows) <= 2  # wrong keys, and too many of them


def test_what_the_gate_refuses_is_told(
    client: TestClient, env: ApiEnv, services: InMemoryServices
) -> None:
    env.standing(ACME, subscription_status="SUSPENDED")
    client.post(RUN, json={"date": "2025-11-25"}, headers=env.headers["acme"])
    client.post("/admin/bootstrap", json={}, headers=env.headers["acme"])
    codes = [(row["action"], row["details"]) for row in list_denials(services)]
    assert codes == [
        ("POST /pipelines/run/{org}/{provider}/{domain}/{pipeline}",
         '{"code":"subscription_inactive"}'),
        ("POST /admin/bootstrap", '{"code":"forbidden"}'),
    ]  # fmt: skip


def test_a_trigger_and_a_cancellation_are_told_with_the_change(
    client: TestClient, env: ApiEnv, services: InMemoryServices
) -> None:
    accepted = client.post(RUN, json={"date": "2025-11-25"}, headers=env.headers["acme"])
    run_id = accepted.json()["run_id"]
    client.post(f"/pipelines/runs/{ACME}/{run_id}/cancel", headers=env.headers["acme"])
    rows = [(row["action"], row["target"], row["result"]) for row in list_denials(services)]
    assert rows == [("run.trigger", run_id, "SUCCEEDED"), ("run.cancel", run_id, "SUCCEEDED")]


def test_a_run_whose_audit_entry_can_not_be_kept_is_refused(
    client: TestClient, env: ApiEnv, services: InMemoryServices, monkeypatch: Any
) -> None:
    def down(*_args: object, **_more: object) -> str:
        raise StateUnavailableError("disk full")

    monkeypatch.setattr(audit, "append_entry", down)
    answer = client.post(RUN, json={"date": "2025-11-25"}, headers=env.headers["acme"])
    assert answer.status_code == 503
    assert not env.airflow.runs
    assert client.get(f"/pipelines/runs/{ACME}", headers=env.headers["acme"]).json()["runs"] == []
    del services
