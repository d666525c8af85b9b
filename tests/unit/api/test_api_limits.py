"""Request rates and failed authentication."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from convergence.api.app import create_app
from convergence.api.http import limits
from support.api.env import ACME, GLOBEX, ApiEnv, InMemoryServices, make_settings


@pytest.fixture
def limited(tmp_path: Path, env: ApiEnv) -> Iterator[TestClient]:
    settings = make_settings(tmp_path, rate_limit_requests_per_minute=5)
    with TestClient(create_app(services=InMemoryServices(settings, env))) as client:
        yield client


def test_an_org_has_its_own_rate_and_every_answer_tells_it(
    limited: TestClient, env: ApiEnv
) -> None:
    path, headers = f"/pipelines/runs/{ACME}", env.headers["acme"]
    left = []
    for _ in range(5):
        answer = limited.get(path, headers=headers)
        assert answer.status_code == 200
        assert answer.headers["RateLimit-Limit"] == "5"
        left.append(int(answer.headers["RateLimit-Remaining"]))
    assert left == [4, 3, 2, 1, 0]
    refused = limited.get(path, headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (429, "limit_reached")
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    assert refused.headers["RateLimit-Remaining"] == "0"
    other = limited.get(f"/pipelines/runs/{GLOBEX}", headers=env.headers["globex"])
    assert other.status_code == 200


def test_all_requests_together_have_a_rate(tmp_path: Path, env: ApiEnv) -> None:
    settings = make_settings(tmp_path, rate_limit_global_requests_per_minute=3)
    with TestClient(create_app(services=InMemoryServices(settings, env))) as client:
        codes = [
            client.get(f"/pipelines/runs/{org}", headers=env.headers[who]).status_code
            for who, org in (("acme", ACME), ("globex", GLOBEX)) * 2
        ]
    assert codes == [200, 200, 200, 429]


def test_the_live_probe_has_no_limit(limited: TestClient) -> None:
    assert {limited.get("/health").status_code for _ in range(20)} == {200}


def test_limits_can_be_off(tmp_path: Path, env: ApiEnv) -> None:
    settings = make_settings(tmp_path, rate_limit_requests_per_minute=1, rate_limit_enabled=False)
    with TestClient(create_app(services=InMemoryServices(settings, env))) as client:
        answers = [
            client.get(f"/pipelines/runs/{ACME}", headers=env.headers["acme"]) for _ in range(3)
        ]
    assert {answer.status_code for answer in answers} == {200}
    assert "RateLimit-Limit" not in answers[0].headers


def test_wrong_keys_are_counted_per_address_and_claimed_org(
    client: TestClient, env: ApiEnv
) -> None:
    path = f"/pipelines/runs/{ACME}"
    wrong = [f"{ACME}_api_{number:016d}" for number in range(limits.FAILED_KEYS_PER_MINUTE + 5)]
    codes = [client.get(path, headers={"X-API-Key": key}).status_code for key in wrong]
    assert codes == [401] * limits.FAILED_KEYS_PER_MINUTE + [429] * 5
    own = client.get(path, headers=env.headers["acme"])
    assert own.status_code == 200
    neighbour = client.get(f"/pipelines/runs/{GLOBEX}", headers=env.headers["globex"])
    assert neighbour.status_code == 200
    assert client.get("/admin/operations/x", headers=env.headers["root"]).status_code == 404


def test_wrong_root_keys_are_counted_too(client: TestClient) -> None:
    codes = [
        client.get("/admin/operations/x", headers={"X-CA-Root-Key": f"wrong-{number}"}).status_code
        for number in range(limits.FAILED_KEYS_PER_MINUTE + 2)
    ]
    assert codes[-2:] == [429, 429]


def test_good_keys_are_not_counted_as_failures(client: TestClient, env: ApiEnv) -> None:
    path = f"/pipelines/runs/{ACME}"
    codes = {client.get(path, headers=env.headers["acme"]).status_code for _ in range(50)}
    assert codes == {200}
