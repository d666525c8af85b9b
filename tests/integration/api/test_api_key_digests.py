"""Keys are looked up in the state store: the warehouse fills it, and is not asked by requests."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import delete, select

from convergence.api.http.services import ApiServices
from convergence.errors import WarehouseUnavailableError
from convergence.state.schema.tables import api_keys, state_meta
from convergence.tenants.api_keys import authentication, key_digests
from convergence.warehouse.query import run_file
from support.api.calls import ACME, onboard
from support.api.sandbox_services import ROOT, SandboxServices

RUNS = f"/pipelines/runs/{ACME}"


@pytest.fixture
def acme(client: TestClient) -> dict[str, str]:
    assert client.post("/admin/bootstrap", json={}, headers=ROOT).status_code == 200
    return onboard(client, ACME)


@pytest.fixture
def queries(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The warehouse queries of key lookups, as they are sent."""
    sent: list[str] = []
    real = run_file

    def counted(warehouse: Any, path: Any, **named: Any) -> Any:
        sent.append(path.name)
        return real(warehouse, path, **named)

    monkeypatch.setattr(key_digests, "run_file", counted)
    monkeypatch.setattr(authentication, "run_file", counted)
    return sent


def restarted(services: ApiServices) -> None:
    """Forget what the process remembers, as another process has never known it."""
    vars(services).pop("authenticator", None)


def code(client: TestClient, headers: dict[str, str]) -> int:
    return client.get(RUNS, headers=headers).status_code


def lose_store(services: ApiServices) -> None:
    with services.store.begin() as conn:
        conn.execute(delete(api_keys))
        conn.execute(delete(state_meta))


def test_an_issued_key_is_known_to_every_process_without_a_query(
    client: TestClient, acme: dict[str, str], services: SandboxServices, queries: list[str]
) -> None:
    restarted(services)
    assert code(client, acme) == 200
    assert queries == []
    with services.store.read() as conn:
        stored = conn.execute(select(api_keys)).mappings().one()
    assert acme["X-API-Key"] not in str(dict(stored))


def test_an_empty_store_is_filled_once_whatever_the_key(
    client: TestClient, acme: dict[str, str], services: SandboxServices, queries: list[str]
) -> None:
    lose_store(services)
    restarted(services)
    for number in range(30):
        assert code(client, {"X-API-Key": f"{ACME}_api_{number:016}"}) in {401, 429}
    assert code(client, acme) == 200
    assert queries == ["keys_active.sql"]


def test_while_the_warehouse_is_away_known_keys_open_and_unknown_ones_ask_rarely(
    client: TestClient,
    acme: dict[str, str],
    services: SandboxServices,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tries: list[int] = []

    def away(*_: Any, **__: Any) -> Any:
        tries.append(1)
        raise WarehouseUnavailableError("BigQuery does not answer")

    monkeypatch.setattr(key_digests, "run_file", away)
    restarted(services)
    assert code(client, acme) == 200
    with services.store.begin() as conn:
        conn.execute(delete(state_meta))
    for number in range(10):
        assert code(client, {"X-API-Key": f"{ACME}_api_{number:016}"}) in {401, 503}
    assert code(client, acme) == 200
    assert 1 <= len(tries) <= 5


def test_a_revoked_and_a_rotated_key_change_in_the_store_at_once(
    client: TestClient, acme: dict[str, str], services: SandboxServices, queries: list[str]
) -> None:
    body = {"overlap_seconds": 0}
    answer = client.post(f"/organizations/{ACME}/api-keys/rotate", json=body, headers=ROOT)
    if answer.status_code == 200:
        restarted(services)
        assert code(client, {"X-API-Key": answer.json()["api_key"]}) == 200
    known = client.get(f"/organizations/{ACME}/api-keys", headers=ROOT).json()["api_keys"]
    for key in known:
        client.delete(f"/organizations/{ACME}/api-keys/{key['key_id']}", headers=ROOT)
    restarted(services)
    assert code(client, acme) == 401
    with services.store.read() as conn:
        assert conn.execute(select(api_keys)).all() == []
    assert "key_find.sql" not in queries


def test_a_key_revoked_in_the_warehouse_by_hand_goes_with_the_next_refresh(
    client: TestClient, acme: dict[str, str], services: SandboxServices
) -> None:
    key_digests.refresh_digests(services.store, services.warehouse)
    services.warehouse.client.query_and_wait(
        "UPDATE organizations.org_api_keys SET status = 'REVOKED' WHERE org_slug = 'acme_corp'"
    )
    assert key_digests.refresh_digests(services.store, services.warehouse) == 1
    restarted(services)
    assert code(client, acme) == 401
