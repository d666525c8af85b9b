"""Accepting lower content by a run's parameter: its form, its record and its audit entry."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fastapi.testclient import TestClient

from convergence.state import org_runs, outbox
from support.api.env import ACME, ApiEnv, InMemoryServices

RUN = f"/pipelines/run/{ACME}/openai/cost/usage_cost"
ACCEPTED = {"start_date": "2025-11-20", "end_date": "2025-11-22", "reason": "credit note 4711"}


@pytest.fixture
def acme(env: ApiEnv) -> dict[str, str]:
    return env.headers["acme"]


def post(client: TestClient, acme: dict[str, str], accepted: object) -> Any:
    body = {"start_date": "2025-11-20", "end_date": "2025-11-22", "accept_shrink": accepted}
    return client.post(RUN, json=body, headers=acme)


def audited(services: InMemoryServices) -> list[dict[str, Any]]:
    with services.store.read() as conn:
        return outbox.list_waiting_rows(conn, "org_audit_logs")


def test_the_run_keeps_the_acceptance_and_the_audit_log_has_days_and_reason(
    client: TestClient, acme: dict[str, str], services: InMemoryServices
) -> None:
    response = post(client, acme, ACCEPTED)
    assert response.status_code == 202
    with services.store.read() as conn:
        (run,) = org_runs.list_for_org(conn, ACME, limit=9)
    assert run.params["accept_shrink"] == ACCEPTED
    (entry,) = [row for row in audited(services) if row["action"] == "run.accept_shrink"]
    assert (entry["org_slug"], entry["actor"], entry["target"]) == (
        ACME,
        "key_of_acme_corp",
        response.json()["run_id"],
    )
    assert json.loads(entry["details"]) == ACCEPTED | {"pipeline_id": "openai-usage-cost"}


def test_a_run_without_it_has_no_such_entry(
    client: TestClient, acme: dict[str, str], services: InMemoryServices
) -> None:
    assert post(client, acme, None).status_code == 202
    assert [row["action"] for row in audited(services)] == ["run.trigger"]


@pytest.mark.parametrize(
    "accepted",
    [
        True,
        "yes",
        {},
        {"start_date": "2025-11-20", "end_date": "2025-11-22"},
        ACCEPTED | {"reason": ""},
        ACCEPTED | {"reason": "   "},
        ACCEPTED | {"start_date": "soon"},
        ACCEPTED | {"end_date": "2025-11-19"},
        ACCEPTED | {"until": "2025-11-22"},
        ACCEPTED | {"orgs": []},
        ACCEPTED | {"orgs": ["No Slug"]},
    ],
)
def test_any_other_form_is_refused(
    client: TestClient, acme: dict[str, str], services: InMemoryServices, accepted: object
) -> None:
    response = post(client, acme, accepted)
    assert response.status_code == 422
    problem = response.json()
    assert "accept_shrink" in problem["detail"] + str(problem.get("errors"))
    assert audited(services) == []


def test_a_pipeline_without_guarded_tables_does_not_know_it(
    client: TestClient, acme: dict[str, str]
) -> None:
    path = f"/pipelines/run/{ACME}/openai/seed_csv"
    response = client.post(path, json={"accept_shrink": ACCEPTED}, headers=acme)
    assert response.status_code == 422
    assert "accept_shrink is not a param of this pipeline" in response.json()["detail"]
