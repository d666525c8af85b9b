"""Keys replaced and revoked, organizations seen and removed, over HTTP and in several processes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient

from convergence.api.app import create_app
from convergence.api.platform import background_tasks
from convergence.state import cache_versions
from convergence.tenants.api_keys import key_digests
from convergence.tenants.shipping import ship_outbox
from support.api.airflow_double import AirflowDouble
from support.api.calls import ACME, GLOBEX, OPENAI_KEY, RUN, connect_openai, onboard
from support.api.sandbox_services import ROOT, SandboxServices
from support.processor_env import ProcessorEnv

KEYS = f"/organizations/{ACME}/api-keys"
RUNS = f"/pipelines/runs/{ACME}"


@pytest.fixture
def platform(client: TestClient) -> TestClient:
    assert client.post("/admin/bootstrap", json={}, headers=ROOT).status_code == 200
    return client


@pytest.fixture
def acme(platform: TestClient) -> dict[str, str]:
    return onboard(platform, ACME)


@pytest.fixture
def elsewhere(
    services: SandboxServices, double: AirflowDouble, monkeypatch: pytest.MonkeyPatch
) -> Iterator[TestClient]:
    """Another process of the API: its own memory, the same state store and warehouse."""
    monkeypatch.setattr(cache_versions, "MAX_AGE_SECONDS", 0.0)
    other = SandboxServices(services.settings, double)
    other.__dict__["cache_versions"] = cache_versions.CacheVersions(
        other.store, max_age_seconds=0.0
    )
    with TestClient(create_app(services=other), raise_server_exceptions=False) as client:
        yield client


def status(client: TestClient, headers: dict[str, str]) -> int:
    return client.get(RUNS, headers=headers).status_code


def rotate(client: TestClient, **body: Any) -> Any:
    return client.post(f"{KEYS}/rotate", json=body, headers=ROOT)


def test_both_keys_are_good_until_the_overlap_ends(
    platform: TestClient, acme: dict[str, str], worker: ProcessorEnv
) -> None:
    before = datetime.now(UTC)
    answer = rotate(platform, overlap_seconds=3600)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    fresh = {"X-API-Key": body["api_key"]}
    assert status(platform, acme) == status(platform, fresh) == 200
    ends = datetime.fromisoformat(body["replaced_not_after"])
    assert timedelta(0) <= ends - before - timedelta(hours=1) < timedelta(minutes=1)

    worker.ask(  # the overlap has ended
        "UPDATE organizations.org_api_keys SET not_after = TIMESTAMP '2026-01-01' "
        f"WHERE key_id = '{body['replaced_key_id']}'"
    )
    assert key_digests.refresh_digests(worker.services.store, worker.warehouse) == 1
    with TestClient(create_app(services=_fresh(worker)), raise_server_exceptions=False) as later:
        assert (status(later, acme), status(later, fresh)) == (401, 200)


def test_without_overlap_the_old_key_ends_at_once_in_every_process(
    platform: TestClient, elsewhere: TestClient, acme: dict[str, str]
) -> None:
    assert status(platform, acme) == status(elsewhere, acme) == 200
    fresh = {"X-API-Key": rotate(platform, overlap_seconds=0).json()["api_key"]}
    for process in (platform, elsewhere):
        assert (status(process, acme), status(process, fresh)) == (401, 200)


def test_a_revoked_key_is_dead_in_every_process_and_stays_so(
    platform: TestClient, elsewhere: TestClient, acme: dict[str, str]
) -> None:
    assert status(platform, acme) == status(elsewhere, acme) == 200
    [key] = platform.get(KEYS, headers=ROOT).json()["api_keys"]
    gone = platform.delete(f"{KEYS}/{key['key_id']}", headers=ROOT)
    assert (gone.status_code, gone.json()["status"]) == (200, "REVOKED")
    assert status(platform, acme) == status(elsewhere, acme) == 401
    again = platform.delete(f"{KEYS}/{key['key_id']}", headers=ROOT)
    assert again.json() == gone.json()
    assert platform.delete(f"{KEYS}/key_unknown", headers=ROOT).status_code == 404


def test_a_suspension_is_felt_in_every_process(
    platform: TestClient, elsewhere: TestClient, acme: dict[str, str]
) -> None:
    connect_openai(platform, ACME, acme, OPENAI_KEY)
    first = elsewhere.post(RUN, json={"date": "2025-11-25"}, headers=acme)
    assert first.status_code == 202, first.text
    path = f"/organizations/{ACME}/subscription"
    platform.put(path, json={"status": "SUSPENDED"}, headers=ROOT)
    refused = elsewhere.post(RUN, json={"date": "2025-11-26"}, headers=acme)
    assert (refused.status_code, refused.json()["code"]) == (403, "subscription_inactive")


def test_an_org_has_two_active_keys_at_most(platform: TestClient, acme: dict[str, str]) -> None:
    assert platform.post(KEYS, json={}, headers=ROOT).status_code == 200
    third = platform.post(KEYS, json={}, headers=ROOT)
    assert (third.status_code, third.json()["code"]) == (409, "conflict")
    unnamed = rotate(platform)
    assert (unnamed.status_code, unnamed.json()["field"]) == (409, "key_id")
    [_, oldest] = platform.get(KEYS, headers=ROOT).json()["api_keys"]
    assert rotate(platform, key_id=oldest["key_id"]).status_code == 409
    assert rotate(platform, key_id=oldest["key_id"], overlap_seconds=0).status_code == 200
    assert status(platform, acme) == 401


SENSELESS: list[Any] = [-1, 31 * 86_400, "60", 1.5, True, None]


def test_an_overlap_that_makes_no_sense_changes_nothing(
    platform: TestClient, acme: dict[str, str]
) -> None:
    for overlap in SENSELESS:
        answer = rotate(platform, overlap_seconds=overlap)
        assert (answer.status_code, answer.json()["code"]) == (422, "request_invalid")
        [key] = platform.get(KEYS, headers=ROOT).json()["api_keys"]
        assert key["status"] == "ACTIVE"
        assert "not_after" not in key
        assert status(platform, acme) == 200


def test_a_replayed_rotation_is_one_and_tells_no_key(
    platform: TestClient, acme: dict[str, str]
) -> None:
    headers = {**ROOT, "Idempotency-Key": "rotate-1"}
    first = platform.post(f"{KEYS}/rotate", json={}, headers=headers)
    again = platform.post(f"{KEYS}/rotate", json={}, headers=headers)
    assert "api_key" not in again.json()
    assert again.json()["api_key_fingerprint"] == first.json()["api_key_fingerprint"]
    assert len(platform.get(KEYS, headers=ROOT).json()["api_keys"]) == 2
    del acme


def test_the_last_use_is_written_now_and_then(
    platform: TestClient, acme: dict[str, str], services: SandboxServices
) -> None:
    [key] = platform.get(KEYS, headers=ROOT).json()["api_keys"]
    assert "last_used_at" not in key
    for _ in range(5):
        status(platform, acme)
    asyncio.run(background_tasks.record_key_uses(services))
    [key] = platform.get(KEYS, headers=ROOT).json()["api_keys"]
    used = datetime.fromisoformat(key["last_used_at"])
    assert datetime.now(UTC) - used < timedelta(minutes=1)
    assert services.authenticator.take_used_keys() == {}


def test_the_platform_sees_every_organization_without_its_secrets(
    platform: TestClient, acme: dict[str, str]
) -> None:
    onboard(platform, GLOBEX)
    connect_openai(platform, ACME, acme, OPENAI_KEY)
    page = platform.get("/organizations", params={"limit": 1}, headers=ROOT).json()
    assert [org["org_slug"] for org in page["organizations"]] == [ACME]
    query = {"limit": 1, "cursor": page["next_cursor"]}
    last = platform.get("/organizations", params=query, headers=ROOT).json()
    assert [org["org_slug"] for org in last["organizations"]] == [GLOBEX]
    assert "next_cursor" not in last

    answer = platform.get(f"/organizations/{ACME}", headers=ROOT)
    one = answer.json()
    assert (one["status"], one["subscription"]["plan"]) == ("ACTIVE", "PROFESSIONAL")
    assert [each["provider"] for each in one["integrations"]] == ["OPENAI"]
    assert len(one["api_keys"]) == 1
    assert acme["X-API-Key"] not in answer.text
    assert OPENAI_KEY not in answer.text
    assert platform.get("/organizations/nobody_here", headers=ROOT).status_code == 404


def test_a_removal_must_be_typed_and_say_what_becomes_of_the_data(
    platform: TestClient, acme: dict[str, str]
) -> None:
    for query in ({}, {"data": "delete"}, {"confirmation": ACME},
                  {"confirmation": GLOBEX, "data": "delete"},
                  {"confirmation": ACME, "data": "burn"}):  # fmt: skip
        answer = platform.delete(f"/organizations/{ACME}", params=query, headers=ROOT)
        assert (answer.status_code, answer.json()["code"]) == (422, "request_invalid"), query
    assert status(platform, acme) == 200


def test_a_removed_organization_is_shut_out_and_its_data_kept_or_deleted(
    platform: TestClient,
    acme: dict[str, str],
    elsewhere: TestClient,
    worker: ProcessorEnv,
    services: SandboxServices,
) -> None:
    connect_openai(platform, ACME, acme, OPENAI_KEY)
    platform.post(RUN, json={"date": "2025-11-25"}, headers=acme)
    assert status(elsewhere, acme) == 200
    path, query = f"/organizations/{ACME}", {"confirmation": ACME, "data": "keep"}
    answer = platform.delete(path, params=query, headers=ROOT)
    assert answer.status_code == 200, answer.text
    assert answer.json() == {
        "org_slug": ACME, "status": "DELETED", "data": "kept", "dataset_id": "acme_corp_dev",
        "keys_revoked": 1, "credentials_deleted": 1, "runs_cancelled": 2,
    }  # fmt: skip
    assert status(platform, acme) == status(elsewhere, acme) == 401
    datasets = {each.dataset_id for each in worker.warehouse.client.list_datasets()}
    assert "acme_corp_dev" in datasets
    assert platform.post(KEYS, json={}, headers=ROOT).status_code == 409
    put = platform.put(f"{path}/subscription", json={"status": "ACTIVE"}, headers=ROOT)
    assert put.status_code == 409

    again = platform.delete(path, params={**query, "data": "delete"}, headers=ROOT).json()
    assert (again["data"], again["keys_revoked"]) == ("deleted", 0)
    datasets = {each.dataset_id for each in worker.warehouse.client.list_datasets()}
    assert "acme_corp_dev" not in datasets
    [left] = worker.ask("SELECT ciphertext, status FROM organizations.org_integration_credentials")
    assert (left["ciphertext"], left["status"]) == (None, "DELETED")
    while ship_outbox(services.store, services.warehouse):
        pass
    told = worker.ask(
        "SELECT result, details FROM organizations.org_audit_logs "
        "WHERE action = 'organization.remove' AND occurred_at > TIMESTAMP '2020-01-01'"
    )
    assert sorted(row["result"] for row in told) == sorted(["ATTEMPTED", "SUCCEEDED"] * 2)


def _fresh(worker: ProcessorEnv) -> SandboxServices:
    return SandboxServices(worker.settings, AirflowDouble())
