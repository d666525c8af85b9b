"""A run's detail has its quality results and notifications in words."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

from fastapi.testclient import TestClient

from convergence.state import notifications, org_runs, org_steps
from convergence.state.notifications import NotificationKey
from convergence.state.org_runs import OrgRun, RunError, RunStatus
from convergence.state.org_steps import OrgStep, StepStatus
from support.api.env import ACME, GLOBEX, USAGE_COST, ApiEnv, InMemoryServices

NOW = datetime(2026, 11, 21, 6, tzinfo=UTC)
FINDING = {
    "expectation": "sums_tie",
    "severity": "stop",
    "table": "openai_cost_daily",
    "day": "2025-11-25",
    "observed": "1 against 2",
    "expected": "1 equal to 2 exactly",
    "message": "sums_tie on openai_cost_daily, 2025-11-25: not met; observed 1 against 2",
}


def add_run(services: InMemoryServices, *, findings: list[dict[str, str]]) -> OrgRun:
    failed = bool(findings)
    run = OrgRun(
        run_id="run_1",
        org_slug=ACME,
        pipeline_id="openai-usage-cost",
        dag_id=USAGE_COST,
        dag_run_id="api__1",
        trigger="api",
        requested_by="key_1",
        created_at=NOW,
        status=RunStatus.FAILED if failed else RunStatus.SUCCESS,
        days=(date(2025, 11, 25),),
    )
    step = OrgStep(
        run_id=run.run_id,
        step="validate_quality",
        org_slug=ACME,
        processor="quality.expectations",
        attempt=1,
        started_at=NOW,
    )
    told = {
        "suite": "openai_cost_suite",
        "expectations": 7,
        "days": 1,
        "not_met": len(findings),
        "findings": findings,
    }
    with services.store.begin() as conn:
        org_runs.insert_run(conn, run)
        org_steps.start_step(conn, step)
        org_steps.finish_step(
            conn,
            run.run_id,
            step.step,
            attempt=1,
            status=StepStatus.FAILED if failed else StepStatus.SUCCESS,
            now=NOW,
            error=RunError("expectations_not_met", "sums_tie") if failed else None,
            result={"status": "FAILED" if failed else "SUCCESS", "quality": told},
        )
    return run


def message(services: InMemoryServices, channel: str, event: str, **ended: Any) -> None:
    key = NotificationKey("run_1", ACME, channel, event)
    with services.store.begin() as conn:
        owner = notifications.claim_notification(conn, key, now=NOW, max_attempts=3)
        assert owner is not None
        if ended:
            notifications.finish_notification(conn, key, owner=owner, now=NOW, **ended)


def detail(client: TestClient, env: ApiEnv) -> dict[str, Any]:
    answer = client.get(f"/pipelines/runs/{ACME}/run_1", headers=env.headers["acme"])
    assert answer.status_code == 200
    told: dict[str, Any] = answer.json()
    return told


def test_what_was_not_met_is_told_also_of_a_step_that_failed(
    client: TestClient, env: ApiEnv, services: InMemoryServices
) -> None:
    add_run(services, findings=[FINDING])
    told = detail(client, env)
    (quality,) = told["quality"]
    assert quality["message"] == "7 expectations of openai_cost_suite on 1 day: 1 not met"
    assert quality["findings"] == [FINDING]
    assert told["steps"][0]["report"] == {}


def test_what_was_met_is_told_in_a_sentence(
    client: TestClient, env: ApiEnv, services: InMemoryServices
) -> None:
    add_run(services, findings=[])
    told = detail(client, env)
    assert told["quality"][0]["message"].endswith("on 1 day: all met")
    assert told["notifications"] == []


def test_messages_are_told_with_what_became_of_them(
    client: TestClient, env: ApiEnv, services: InMemoryServices
) -> None:
    add_run(services, findings=[])
    message(services, "email", "succeeded", recipients=1)
    message(services, "slack", "succeeded", error="Slack says: no (500)")
    message(services, "slack", "step:notify_team")
    assert [one["message"] for one in detail(client, env)["notifications"]] == [
        "email about a succeeded run: sent to 1 recipient",
        "slack about the run at its step notify_team: being sent",
        "slack about a succeeded run: not sent after 1 try: Slack says: no (500)",
    ]


def test_another_orgs_messages_of_a_run_are_not_told(
    client: TestClient, env: ApiEnv, services: InMemoryServices
) -> None:
    add_run(services, findings=[])
    with services.store.begin() as conn:
        key = NotificationKey("run_1", GLOBEX, "email", "failed")
        notifications.claim_notification(conn, key, now=NOW, max_attempts=3)
    assert detail(client, env)["notifications"] == []
