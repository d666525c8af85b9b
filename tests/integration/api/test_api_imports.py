"""Connecting a provider imports: defaults first, free of the plan's limits, then the history."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient

from convergence.api.integrations.connections import Integrations
from convergence.providers.validation import Validation
from convergence.runs.ledger import Action, LedgerRow
from convergence.runs.slices import Finality, SliceKey
from convergence.state.org_runs import RunStatus
from support.api.airflow_double import AirflowDouble
from support.api.calls import ACME, OPENAI_KEY, connect_openai, onboard
from support.api.sandbox_services import ROOT, SandboxServices

SEED, USAGE, BILLED = "openai.seed_csv", "openai.cost.usage_cost", "openai.cost.cost_extract"
HISTORY_DAYS = 30


@pytest.fixture
def acme(client: TestClient, double: AirflowDouble) -> dict[str, str]:
    double.add_dag(BILLED)
    assert client.post("/admin/bootstrap", json={}, headers=ROOT).status_code == 200
    return onboard(client, ACME)


def entries(client: TestClient, headers: dict[str, str]) -> dict[str, dict[str, Any]]:
    """The queue's entries by pipeline."""
    found = client.get("/scheduler/queue", headers=headers).json()["entries"]
    assert len({entry["pipeline_id"] for entry in found}) == len(found)
    return {entry["pipeline_id"]: entry for entry in found}


def end(services: SandboxServices, run_id: str, status: RunStatus) -> None:
    now = datetime.now(UTC)
    services.records.begin_run(run_id, now=now)
    assert services.records.finish_run(run_id, status, now=now)


def process(client: TestClient, headers: dict[str, str]) -> None:
    answer = client.post("/scheduler/queue/process", json={}, headers=headers)
    assert answer.status_code == 200, answer.text


def final_history(services: SandboxServices, pipeline_id: str, *tables: str) -> None:
    """Say in the ledger that everything of interest is published for good."""
    now = datetime.now(UTC)
    rows = [
        LedgerRow(
            key=SliceKey(ACME, pipeline_id, table, now.date() - timedelta(days=ago)),
            action=Action.PUBLISHED,
            attempt=1,
            run_id="run_1",
            job_id="job_1",
            content_hash="0",
            row_count=0,
            finality=Finality.FINAL,
            checked_at=now,
            job_ended_at=now,
        )
        for table in tables
        for ago in range(1, HISTORY_DAYS + 1)
    ]
    services.ledger.append_rows(rows)


def test_a_valid_set_up_queues_defaults_and_then_history_and_says_so(
    client: TestClient, acme: dict[str, str], double: AirflowDouble, services: SandboxServices
) -> None:
    made = connect_openai(client, ACME, acme, OPENAI_KEY).json()
    queued = [(run["pipeline"], run["debited"]) for run in made["import_runs"]]
    assert queued == [
        ("openai/seed_csv", False),
        ("openai/cost/usage_cost", True),
        ("openai/cost/cost_extract", True),
    ]
    found = entries(client, acme)
    assert {run["queue_id"] for run in made["import_runs"]} == {
        entry["queue_id"] for entry in found.values()
    }
    seed, usage, billed = (
        found[name] for name in ("openai-seed-csv", "openai-usage-cost", "openai-cost-extract")
    )
    assert [one["status"] for one in (seed, usage, billed)] == ["STARTED", "QUEUED", "QUEUED"]
    assert usage["reason"] == "the run before it, openai-seed-csv, has not succeeded yet"
    quota = client.get(f"/quota/{ACME}", headers=acme).json()
    assert (quota["runs_per_day"]["used"], quota["concurrent_runs"]["used"]) == (0, 0)
    assert (len(double.triggered(SEED)), double.triggered(USAGE)) == (1, [])

    end(services, seed["run_id"], RunStatus.SUCCESS)
    process(client, acme)
    usage = entries(client, acme)["openai-usage-cost"]
    assert (usage["status"], usage.get("reason")) == ("STARTED", None)
    [run] = double.triggered(USAGE)
    assert run["conf"] == {"org_run_id": usage["run_id"]}
    assert entries(client, acme)["openai-cost-extract"]["status"] == "QUEUED"
    assert client.get(f"/quota/{ACME}", headers=acme).json()["runs_per_day"]["used"] == 1
    end(services, usage["run_id"], RunStatus.SUCCESS)
    process(client, acme)
    assert entries(client, acme)["openai-cost-extract"]["status"] == "STARTED"


def test_a_set_up_may_leave_the_history_to_the_schedules(
    client: TestClient, acme: dict[str, str], double: AirflowDouble
) -> None:
    body = {"credential": OPENAI_KEY, "credential_name": "later", "import_history": False}
    made = client.post(f"/integrations/{ACME}/openai/setup", json=body, headers=acme).json()
    assert made["validation_status"] == "VALID"
    assert "import_runs" not in made
    assert entries(client, acme) == {}
    assert double.triggered(SEED) == []


def test_history_is_not_priced_without_the_defaults(
    client: TestClient, acme: dict[str, str], double: AirflowDouble, services: SandboxServices
) -> None:
    connect_openai(client, ACME, acme, OPENAI_KEY)
    end(services, entries(client, acme)["openai-seed-csv"]["run_id"], RunStatus.FAILED)
    process(client, acme)
    found = entries(client, acme)
    assert found["openai-usage-cost"]["status"] == "FAILED"
    assert found["openai-usage-cost"]["reason"].endswith("openai-seed-csv, did not succeed")
    process(client, acme)
    assert entries(client, acme)["openai-cost-extract"]["status"] == "FAILED"
    assert double.triggered(USAGE) == []


def test_a_new_key_imports_nothing_twice(
    client: TestClient, acme: dict[str, str], services: SandboxServices
) -> None:
    assert connect_openai(client, ACME, acme, OPENAI_KEY).json()["import_runs"]
    again = connect_openai(client, ACME, acme, f"{OPENAI_KEY}-2")
    assert again.json()["import_runs"] == [], "it is under way"

    for name in ("openai-seed-csv", "openai-usage-cost", "openai-cost-extract"):
        end(services, entries(client, acme)[name]["run_id"], RunStatus.SUCCESS)
        process(client, acme)
    tables = ("openai_usage_daily_raw", "openai_cost_daily")
    final_history(services, "openai-usage-cost", *tables)
    third = connect_openai(client, ACME, acme, OPENAI_KEY).json()["import_runs"]
    assert [run["pipeline"] for run in third] == ["openai/seed_csv", "openai/cost/cost_extract"]


def test_with_everything_final_a_new_key_queues_nothing(
    client: TestClient, acme: dict[str, str], services: SandboxServices
) -> None:
    final_history(services, "openai-usage-cost", "openai_usage_daily_raw", "openai_cost_daily")
    final_history(services, "openai-cost-extract", "openai_billed_daily")
    made = connect_openai(client, ACME, acme, OPENAI_KEY)
    assert (made.status_code, made.json()["import_runs"]) == (200, [])
    assert entries(client, acme) == {}


def test_a_refused_key_imports_nothing(client: TestClient, acme: dict[str, str]) -> None:
    assert connect_openai(client, ACME, acme, "sk-admin-unknown-0123456789").status_code == 422
    assert entries(client, acme) == {}


def test_a_suspended_organization_connects_nothing_and_imports_nothing(
    client: TestClient, acme: dict[str, str]
) -> None:
    path = f"/organizations/{ACME}/subscription"
    client.put(path, json={"status": "SUSPENDED"}, headers=ROOT)
    made = connect_openai(client, ACME, acme, OPENAI_KEY)
    assert (made.status_code, made.json()["code"]) == (403, "subscription_inactive")
    assert client.get(f"/integrations/{ACME}", headers=acme).json()["integrations"] == []
    assert entries(client, acme) == {}


def test_a_pipeline_that_the_organization_switched_off_is_left_out(
    client: TestClient, acme: dict[str, str]
) -> None:
    path = f"/pipelines/config/{ACME}/openai-cost-extract"
    assert client.put(path, json={"enabled": False}, headers=acme).status_code == 200
    made = connect_openai(client, ACME, acme, OPENAI_KEY).json()["import_runs"]
    assert [run["pipeline"] for run in made] == ["openai/seed_csv", "openai/cost/usage_cost"]


def test_a_replayed_set_up_names_the_same_runs_and_queues_no_more(
    client: TestClient, acme: dict[str, str]
) -> None:
    headers = {**acme, "Idempotency-Key": "connect-openai"}
    first, again = (connect_openai(client, ACME, headers, OPENAI_KEY) for _ in range(2))
    assert again.headers["Idempotency-Replayed"] == "true"
    assert first.json() == again.json()
    assert len(entries(client, acme)) == 3


def test_an_import_starts_though_the_plan_is_used_up_and_its_history_waits(
    client: TestClient, acme: dict[str, str], services: SandboxServices, double: AirflowDouble
) -> None:
    services.warehouse.client.query_and_wait(
        "UPDATE organizations.org_usage_quotas SET runs_per_day = 0 WHERE TRUE"
    )
    connect_openai(client, ACME, acme, OPENAI_KEY)
    seed = entries(client, acme)["openai-seed-csv"]
    assert seed["status"] == "STARTED"
    end(services, seed["run_id"], RunStatus.SUCCESS)
    process(client, acme)
    usage = entries(client, acme)["openai-usage-cost"]
    assert (usage["status"], usage["reason"]) == (
        "QUEUED",
        "The plan allows 0 runs per UTC day; 0 are used.",
    )
    assert date.fromisoformat(usage["enqueued_at"][:10]) == datetime.now(UTC).date()
    assert double.triggered(USAGE) == []


def test_a_key_that_turns_out_to_be_valid_later_imports_then(
    client: TestClient, acme: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent(*_given: object, **_told: object) -> Validation:
        return Validation("PENDING", "OpenAI does not answer")

    with monkeypatch.context() as patched:
        patched.setattr(f"{Integrations.__module__}.validate_credential_async", silent)
        made = connect_openai(client, ACME, acme, OPENAI_KEY).json()
    assert made["validation_status"] == "PENDING"
    assert "import_runs" not in made
    assert entries(client, acme) == {}
    first, again = (
        client.post(f"/integrations/{ACME}/openai/validate", json={}, headers=acme).json()
        for _ in range(2)
    )
    assert (first["validation_status"], len(first["import_runs"])) == ("VALID", 3)
    assert "import_runs" not in again
