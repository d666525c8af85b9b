"""Faults on request and the record of requests."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from convergence_sandbox.providers import create_app

MODELS = "/openai/v1/models"
KEY = "sk-admin-sandbox-acme"
BEARER = {"authorization": f"Bearer {KEY}"}
BUSY = {"kind": "status", "options": {"status": 503}}


@pytest.fixture
def client(tmp_path: Path) -> TestClient:
    return TestClient(create_app(tmp_path), headers=BEARER)


def statuses(client: TestClient, count: int, *, path: str = MODELS) -> list[int]:
    return [client.get(path).status_code for _ in range(count)]


def test_a_fault_strikes_after_its_skips_and_as_often_as_its_count(client: TestClient) -> None:
    client.post("/_sandbox/faults", json={**BUSY, "skip": 1, "count": 2})
    assert statuses(client, 5) == [200, 503, 503, 200, 200]
    assert client.get("/_sandbox/faults").json()[0]["struck"] == 2


def test_a_fault_without_count_strikes_until_it_is_cleared(client: TestClient) -> None:
    client.post("/_sandbox/faults", json={**BUSY, "count": None})
    assert statuses(client, 3) == [503] * 3
    client.delete("/_sandbox/faults")
    assert statuses(client, 1) == [200]


def test_a_fault_strikes_only_the_path_and_the_key_it_names(client: TestClient) -> None:
    fault = {**BUSY, "count": None, "path": "/models$", "key": "globex$"}
    client.post("/_sandbox/faults", json=[fault])
    assert statuses(client, 1) == [200]
    other = {"authorization": "Bearer sk-admin-sandbox-globex"}
    assert client.get(MODELS, headers=other).status_code == 503
    assert client.get("/vendor/v1/page/users", headers=other).status_code == 401


def test_a_provider_is_short_for_its_paths(client: TestClient) -> None:
    client.post("/_sandbox/faults", json={**BUSY, "provider": "vendor", "count": None})
    assert statuses(client, 1) == [200]
    assert statuses(client, 1, path="/vendor/v1/page/users") == [503]


def test_random_faults_are_the_same_for_the_same_seed(tmp_path: Path) -> None:
    def kinds(name: str, seed: int) -> list[Any]:
        with TestClient(create_app(tmp_path / name), headers=BEARER) as client:
            fault = {"kind": "random", "seed": seed, "count": 12, "options": {"size": 1_048_576}}
            client.post("/_sandbox/faults", json=fault)
            app: Any = client.app
            return [app.faults.strike("/x", credential="").choose() for _ in range(12)]

    assert kinds("a", 7) == kinds("b", 7) != kinds("c", 8)


@pytest.mark.parametrize(
    "wrong", [{}, {"kind": "gremlin"}, {"kind": "hang", "path": "("}, {"kind": "hang", "x": 1}, 7]
)
def test_a_wrong_fault_is_rejected(client: TestClient, wrong: object) -> None:
    response = client.post("/_sandbox/faults", json=wrong)
    assert response.status_code == 422
    assert response.json()["error"]


def test_faults_in_wait_outlive_a_restart(tmp_path: Path) -> None:
    first = TestClient(create_app(tmp_path), headers=BEARER)
    first.post("/_sandbox/faults", json={**BUSY, "count": 3})
    assert statuses(first, 1) == [503]
    second = TestClient(create_app(tmp_path), headers=BEARER)
    assert statuses(second, 3) == [503, 503, 200]


def test_every_request_is_seen_with_its_credential_but_not_the_credential(
    client: TestClient,
) -> None:
    client.post("/_sandbox/faults", json=BUSY)
    client.get(MODELS, params={"a": "1"})
    client.get("/anywhere/else", headers={"authorization": "", "x-api-key": "secret-key-9999"})
    served = client.get("/_sandbox/requests").json()
    assert [(row["path"], row["status"], row["fault"]) for row in served] == [
        (MODELS, 503, "status"),
        ("/anywhere/else", 404, None),
    ]
    assert served[0]["query"] == [["a", "1"]]
    assert served[0]["credential_digest"] == sha256(KEY.encode()).hexdigest()
    assert KEY not in client.get("/_sandbox/requests").text
    assert client.get("/_sandbox/requests", params={"path": "^/openai"}).json() == served[:1]
    client.delete("/_sandbox/requests")
    assert client.get("/_sandbox/requests").json() == []
