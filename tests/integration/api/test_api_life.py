"""A customer's life through HTTP, with real tables, real encryption, and a neighbour who pries."""

from __future__ import annotations

import logging

import pytest
from fastapi.testclient import TestClient

from convergence.tenants.shipping import ship_outbox
from support.api.airflow_double import AirflowDouble
from support.api.calls import ACME, GLOBEX, OPENAI_KEY, RUN, body_of, connect_openai, onboard
from support.api.sandbox_services import ROOT, SandboxServices
from support.processor_env import ProcessorEnv


@pytest.fixture
def platform(client: TestClient) -> TestClient:
    answer = client.post("/admin/bootstrap", json={}, headers=ROOT)
    assert answer.status_code == 200, answer.text
    return client


@pytest.fixture
def acme(platform: TestClient) -> dict[str, str]:
    return onboard(platform, ACME)


def test_before_bootstrap_everything_says_so(client: TestClient, double: AirflowDouble) -> None:
    double.work = None
    for method, path, body in (
        ("POST", "/organizations/onboard", body_of(ACME)),
        ("POST", f"/organizations/{ACME}/api-keys", {}),
        ("PUT", f"/organizations/{ACME}/subscription", {"status": "ACTIVE"}),
    ):
        answer = client.request(method, path, json=body, headers=ROOT)
        assert (answer.status_code, answer.json()["code"]) == (409, "not_bootstrapped"), path
    key = {"X-API-Key": f"{ACME}_api_0123456789abcdef"}
    answer = client.post(RUN, json={"date": "2025-11-25"}, headers=key)
    assert (answer.status_code, answer.json()["code"]) == (409, "not_bootstrapped")
    assert not double.runs


def test_bootstrap_again_makes_nothing_new(platform: TestClient) -> None:
    again = platform.post("/admin/bootstrap", json={}, headers=ROOT)
    assert (again.status_code, again.json()["tables_created"]) == (200, [])
    assert again.json()["status"] == "SUCCESS"


def test_a_dry_run_tells_every_fault_and_makes_nothing(
    platform: TestClient, worker: ProcessorEnv
) -> None:
    good = platform.post("/organizations/dryrun", json=body_of(ACME), headers=ROOT).json()
    assert good["ready_for_onboarding"] is True
    wrong = body_of("A!", admin_email="nobody", subscription_plan="HUGE")
    answer = platform.post("/organizations/dryrun", json=wrong, headers=ROOT)
    assert answer.status_code == 200
    assert answer.json()["ready_for_onboarding"] is False
    assert len(answer.json()["checks"]) >= 3
    datasets = [each.dataset_id for each in worker.warehouse.client.list_datasets()]
    assert datasets == ["organizations"]


def test_onboarding_gives_a_dataset_and_a_key_that_works_at_once(platform: TestClient) -> None:
    answer = platform.post("/organizations/onboard", json=body_of(ACME), headers=ROOT)
    body = answer.json()
    assert body["org_slug"] == ACME
    assert body["dataset_id"] == "acme_corp_dev"
    assert body["dataset_created"] is True
    assert "openai_usage_daily_raw" in body["tables_created"]
    key = body["api_key"]
    assert key.startswith(f"{ACME}_api_")
    assert body["api_key_fingerprint"]["last_four"] == key[-4:]
    runs = platform.get(f"/pipelines/runs/{ACME}", headers={"X-API-Key": key})
    assert runs.json() == {"runs": []}

    again = platform.post("/organizations/onboard", json=body_of(ACME), headers=ROOT)
    assert (again.status_code, again.json()["code"]) == (409, "conflict")


def test_without_encryption_no_onboarding_begins(
    platform: TestClient, services: SandboxServices, double: AirflowDouble
) -> None:
    vars(services).pop("kms", None)
    services.settings = services.settings.model_copy(update={"kms_key_name": None})
    answer = platform.post("/organizations/onboard", json=body_of(ACME), headers=ROOT)
    assert (answer.status_code, answer.json()["code"]) == (409, "settings_invalid")
    assert not double.triggered("setup.organizations.onboarding")


def test_a_replayed_onboarding_never_tells_the_key_again(platform: TestClient) -> None:
    headers = {**ROOT, "Idempotency-Key": "onboard-acme"}
    first = platform.post("/organizations/onboard", json=body_of(ACME), headers=headers)
    again = platform.post("/organizations/onboard", json=body_of(ACME), headers=headers)
    assert first.json()["api_key"] not in again.text
    assert again.headers["Idempotency-Replayed"] == "true"
    kept = {name: value for name, value in first.json().items() if name != "api_key"}
    assert again.json() == kept


def test_further_keys_work_beside_the_first(platform: TestClient, acme: dict[str, str]) -> None:
    answer = platform.post(f"/organizations/{ACME}/api-keys", json={}, headers=ROOT)
    assert answer.status_code == 200
    for headers in (acme, {"X-API-Key": answer.json()["api_key"]}):
        assert platform.get(f"/pipelines/runs/{ACME}", headers=headers).status_code == 200
    nobody = platform.post("/organizations/no_such_org/api-keys", json={}, headers=ROOT)
    assert nobody.status_code == 404


def test_a_provider_is_connected_read_validated_and_removed(
    platform: TestClient, acme: dict[str, str]
) -> None:
    made = connect_openai(platform, ACME, acme, OPENAI_KEY)
    assert made.status_code == 200, made.text
    body = made.json()
    assert (body["validation_status"], body["provider"]) == ("VALID", "openai")
    assert OPENAI_KEY not in made.text
    one = platform.get(f"/integrations/{ACME}/openai", headers=acme).json()
    assert one["credential_id"] == body["credential_id"]
    many = platform.get(f"/integrations/{ACME}", headers=acme).json()
    assert [each["provider"] for each in many["integrations"]] == ["openai"]
    checked = platform.post(f"/integrations/{ACME}/openai/validate", headers=acme)
    assert (checked.status_code, checked.json()["validation_status"]) == (200, "VALID")

    gone = platform.delete(f"/integrations/{ACME}/openai", headers=acme)
    assert (gone.status_code, gone.json()["status"]) == (200, "DELETED")
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/validate")):
        answer = platform.request(method, f"/integrations/{ACME}/openai{path}", headers=acme)
        assert answer.status_code == 404, method
    refused = platform.post(RUN, json={"date": "2025-11-25"}, headers=acme)
    assert (refused.status_code, refused.json()["code"]) == (409, "integration_invalid")


REFUSED = [
    "sk-proj-0123456789abcdefghij",
    "sk-admin-unknown-0123456789",
    "not a key",
    "",
    " ",
]


def test_a_refused_credential_is_not_stored_and_the_old_one_stays(
    platform: TestClient, acme: dict[str, str]
) -> None:
    for key in REFUSED:
        assert connect_openai(platform, ACME, acme, OPENAI_KEY).status_code == 200
        before = platform.get(f"/integrations/{ACME}/openai", headers=acme).json()
        refused = connect_openai(platform, ACME, acme, key)
        assert (refused.status_code, refused.json()["code"]) == (422, "credential_refused")
        assert not key.strip() or key not in refused.text
        assert platform.get(f"/integrations/{ACME}/openai", headers=acme).json() == before


UNKNOWN = ["nobody", "OPENAI", "open ai", "..", "%2e%2e"]


def test_an_unknown_provider_is_not_found(platform: TestClient, acme: dict[str, str]) -> None:
    for provider in UNKNOWN:
        answer = platform.get(f"/integrations/{ACME}/{provider}", headers=acme)
        assert answer.status_code == 404


def test_suspension_stops_runs_and_reactivation_lets_them_go_on(
    platform: TestClient, acme: dict[str, str], double: AirflowDouble
) -> None:
    connect_openai(platform, ACME, acme, OPENAI_KEY)
    path = f"/organizations/{ACME}/subscription"
    put = platform.put(path, json={"billing_status": "past_due"}, headers=ROOT)
    assert (put.status_code, put.json()["status"]) == (200, "SUSPENDED")
    refused = platform.post(RUN, json={"date": "2025-11-25"}, headers=acme)
    assert (refused.status_code, refused.json()["code"]) == (403, "subscription_inactive")
    trial = {"status": "TRIAL", "trial_end_date": "2099-12-31"}
    assert (
        platform.put(path, json=trial, headers=ROOT).json()["trial_ends_at"].startswith("2100-01")
    )
    accepted = platform.post(RUN, json={"date": "2025-11-25"}, headers=acme)
    assert accepted.status_code == 202, accepted.text
    [run] = double.triggered("openai.cost.usage_cost")
    assert run["conf"] == {"org_run_id": accepted.json()["run_id"]}
    nobody = platform.put("/organizations/nobody_here/subscription", json={}, headers=ROOT)
    assert nobody.status_code == 404


def test_a_neighbour_sees_and_moves_nothing(platform: TestClient, acme: dict[str, str]) -> None:
    globex = onboard(platform, GLOBEX)
    connect_openai(platform, ACME, acme, OPENAI_KEY)
    run_id = platform.post(RUN, json={"date": "2025-11-25"}, headers=acme).json()["run_id"]
    for method, path in (
        ("GET", f"/pipelines/runs/{ACME}"),
        ("GET", f"/pipelines/runs/{ACME}/{run_id}"),
        ("GET", f"/pipelines/runs/{GLOBEX}/{run_id}"),
        ("POST", f"/pipelines/runs/{GLOBEX}/{run_id}/cancel"),
        ("POST", RUN),
        ("GET", f"/integrations/{ACME}/openai"),
        ("GET", f"/integrations/{GLOBEX}/openai"),
        ("DELETE", f"/integrations/{ACME}/openai"),
        ("GET", f"/costs/{ACME}"),
    ):
        answer = platform.request(method, path, headers=globex)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), path
        assert ACME not in answer.text
    assert platform.get(f"/pipelines/runs/{GLOBEX}", headers=globex).json() == {"runs": []}


def test_cost_of_an_org_without_usage_is_empty(platform: TestClient, acme: dict[str, str]) -> None:
    query = {"group_by": "day,model,project"}
    body = platform.get(f"/costs/{ACME}", params=query, headers=acme)
    assert body.status_code == 200, body.text
    assert (body.json()["rows"], body.json()["unpriced"]) == ([], [])


def test_every_change_is_audited_and_no_secret_is_in_the_store_or_the_logs(
    platform: TestClient,
    acme: dict[str, str],
    services: SandboxServices,
    worker: ProcessorEnv,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.DEBUG, logger="convergence"):
        connect_openai(platform, ACME, acme, OPENAI_KEY)
        platform.post(RUN, json={"date": "2025-11-25"}, headers=acme)
    while ship_outbox(services.store, services.warehouse):
        pass
    rows = worker.ask(
        "SELECT action, result FROM organizations.org_audit_logs "
        "WHERE occurred_at > TIMESTAMP '2000-01-01'"
    )
    done = {row["action"] for row in rows if row["result"] == "SUCCEEDED"}
    assert {"api_key.issue", "credential.store"} <= done
    logged = worker.ask(
        "SELECT pipeline_id FROM organizations.org_meta_pipeline_runs "
        "WHERE status = 'QUEUED' AND recorded_at > TIMESTAMP '2000-01-01'"
    )
    names = sorted(row["pipeline_id"] for row in logged)
    assert names == ["acme_corp-openai-seed-csv", "acme_corp-openai-usage-cost"]
    secrets = (OPENAI_KEY, acme["X-API-Key"])
    state = (worker.settings.var_dir / "state").glob("*")
    kept = b"".join(path.read_bytes() for path in state)
    assert not [secret for secret in secrets if secret.encode() in kept]
    assert not [secret for secret in secrets if secret in caplog.text]
