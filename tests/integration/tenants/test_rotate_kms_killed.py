"""A rotation that is killed before any of its calls, and run again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from google.cloud import bigquery, kms
from sqlalchemy import Connection

from convergence.security.kms import KeyManager
from convergence.settings import Settings
from convergence.state.store import StateStore
from convergence.tenants.audit_verify import verify_chains
from convergence.tenants.credentials import Credentials
from convergence.tenants.encryption import kms_register, rotate_kms
from convergence.tenants.shipping import ship_outbox
from convergence.warehouse.client import Warehouse
from support.tenant_owner import NOW, Owner, registered


class Killed(BaseException):
    """The process is gone."""


@dataclass
class Life:
    """How many calls a process has yet to make; afterwards every call finds it dead."""

    left: int
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def spend(self) -> None:
        with self._lock:
            if self.left == 0:
                raise Killed
            self.left -= 1


class MortalStore(StateStore):
    life: Life

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        self.life.spend()
        with super().begin() as conn:
            yield conn

    @contextmanager
    def read(self) -> Iterator[Connection]:
        self.life.spend()
        with super().read() as conn:
            yield conn


class MortalBigQuery(bigquery.Client):
    life: Life

    def query(self, *args: Any, **kwargs: Any) -> bigquery.QueryJob:
        self.life.spend()
        return super().query(*args, **kwargs)


class MortalKms:
    def __init__(self, client: kms.KeyManagementServiceClient, life: Life) -> None:
        self._client, self._life = client, life

    def __getattr__(self, name: str) -> Any:
        self._life.spend()
        return getattr(self._client, name)


@pytest.mark.timeout(400)
def test_killed_before_any_call_and_run_again_it_finishes_and_loses_nothing(
    store: StateStore,
    warehouse: Warehouse,
    *,
    settings: Settings,
    kms: KeyManager,
    credentials: Credentials,
    owner: Owner,
    quiet: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for table, column in (
        ("org_integration_credentials", "ciphertext"),
        ("org_api_keys", "key_ciphertext"),
    ):  # other tests' orgs would only make each of the many lives longer
        warehouse.client.query_and_wait(
            f"UPDATE organizations.{table} SET {column} = NULL WHERE org_slug != '{owner.slug}'"
        )
    url = str(store._engine.url)
    with monkeypatch.context() as patched:
        patched.setattr(bigquery, "Client", MortalBigQuery)
        mortal_warehouse = Warehouse.connect(settings)
    assert isinstance(mortal_warehouse.client, MortalBigQuery)
    mortal_store = MortalStore.connect(url)
    assert isinstance(mortal_store, MortalStore)
    deaths = 0
    for calls in range(200):
        kms.create_version()
        life = Life(calls)
        mortal_store.life = mortal_warehouse.client.life = life
        mortal_kms: Any = MortalKms(kms._client, life)
        try:
            mortal = KeyManager(mortal_kms, kms.key_name)
            rotate_kms.rotate_ciphertexts(mortal_store, mortal_warehouse, mortal, now=NOW)
        except Killed:
            deaths += 1
        else:
            break
        owner.assert_readable(credentials)
        assert rotate_kms.rotate_ciphertexts(store, warehouse, kms, now=NOW)
        assert owner.versions() == {kms.get_primary_version()}
    owner.assert_readable(credentials)
    assert deaths > 15
    assert verify_chains(store, warehouse, orgs=[owner.slug]) == {owner.slug: None}
    ship_outbox(store, warehouse)
    kms_register.repair_register(
        store, warehouse, now=NOW + timedelta(minutes=1), orgs=[owner.slug]
    )
    ship_outbox(store, warehouse)
    assert set(registered(warehouse, owner.slug)) == {kms.get_primary_version()}
    mortal_store.close()
