"""Every ciphertext brought to a new KMS key version: resumable, exact, and told in the register."""

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

from convergence.errors import ConvergenceError, DecryptionError
from convergence.security.kms import Ciphertext, KeyManager, api_key_aad, connect_kms
from convergence.settings import Settings
from convergence.state.store import StateStore
from convergence.state.tables import outbox
from convergence.tenants import kms_register, removal, rotate_kms
from convergence.tenants.audit_verify import verify
from convergence.tenants.credentials import Credentials
from convergence.tenants.keys import issue_key, revoke_key
from convergence.tenants.reencryption import Reencrypted, Reencryption
from convergence.tenants.shipping import ship
from convergence.warehouse.client import Warehouse
from integration.tenants.conftest import BY, NOW, NewOrg

OPENAI, ANTHROPIC = "sk-admin-sandbox-rotate", "sk-ant-admin01-rotate"


@dataclass
class Owner:
    """An org with two credentials and two keys, and what they are in clear."""

    slug: str
    warehouse: Warehouse
    kms: KeyManager
    key_ids: list[str] = field(default_factory=list)
    secrets: list[str] = field(default_factory=list)

    def rows(self, table: str) -> list[dict[str, Any]]:
        sql = f"SELECT * FROM organizations.{table} WHERE org_slug = '{self.slug}'"  # ours
        return [dict(row.items()) for row in self.warehouse.client.query_and_wait(sql)]

    def register(self) -> list[dict[str, Any]]:
        sql = f"""
            SELECT subject_id, status, reason, kms_key_version FROM organizations.org_kms_keys
            WHERE org_slug = '{self.slug}' AND recorded_at > TIMESTAMP '2026-01-01'
        """  # the slug is the test's own
        return [dict(row.items()) for row in self.warehouse.client.query_and_wait(sql)]

    def audit(self) -> list[dict[str, Any]]:
        sql = f"""
            SELECT action, result, details FROM organizations.org_audit_logs
            WHERE org_slug = '{self.slug}' AND occurred_at > TIMESTAMP '2026-01-01'
            ORDER BY sequence
        """  # the slug is the test's own
        return [dict(row.items()) for row in self.warehouse.client.query_and_wait(sql)]

    def versions(self) -> set[str]:
        """The key versions of all that is encrypted."""
        credentials = self.rows("org_integration_credentials")
        found = {row["kms_key_version"] for row in credentials if row["ciphertext"]}
        keys = self.rows("org_api_keys")
        return found | {row["kms_key_version"] for row in keys if row["key_ciphertext"]}

    def assert_readable(self, credentials: Credentials) -> None:
        """Nothing is lost: each opens for its owner, to what it was."""
        assert credentials.open(self.slug, "OPENAI") == OPENAI
        assert credentials.open(self.slug, "ANTHROPIC") == ANTHROPIC
        found = {row["key_id"]: row["key_ciphertext"] for row in self.rows("org_api_keys")}
        opened = [
            self.kms.decrypt(found[key_id], aad=api_key_aad(self.slug, key_id)).decode()
            for key_id in self.key_ids
        ]
        assert opened == self.secrets


def put(credentials: Credentials, org: str, provider: str, secret: str) -> str:
    return credentials.put(
        org,
        provider,
        secret,
        credential_name="main",
        validation_status="VALID",
        by=BY,
        now=NOW,
    ).credential_id


@pytest.fixture
def owner(
    store: StateStore,
    warehouse: Warehouse,
    kms: KeyManager,
    *,
    credentials: Credentials,
    new_org: NewOrg,
) -> Owner:
    owner = Owner(new_org(), warehouse, kms)
    put(credentials, owner.slug, "OPENAI", OPENAI)
    put(credentials, owner.slug, "ANTHROPIC", ANTHROPIC)
    for _ in range(2):
        key = issue_key(store, warehouse, kms, owner.slug, scopes=["all"], by=BY, now=NOW)
        owner.key_ids.append(key.key_id)
        owner.secrets.append(key.secret)
    return owner


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(rotate_kms, "_say", lines.append)
    return lines


def registered(warehouse: Warehouse, org: str) -> dict[str, set[str]]:
    """What each version protects, as the register and the ciphertexts agree."""
    found: dict[str, set[str]] = {}
    for one in kms_register.protected(warehouse, orgs=[org]):
        assert one.since is not None
        found.setdefault(one.kms_key_version, set()).update(one.ids)
    return found


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
        kms.new_version()
        life = Life(calls)
        mortal_store.life = mortal_warehouse.client.life = life
        mortal_kms: Any = MortalKms(kms._client, life)
        try:
            mortal = KeyManager(mortal_kms, kms.key_name)
            rotate_kms.rotate(mortal_store, mortal_warehouse, mortal, now=NOW)
        except Killed:
            deaths += 1
        else:
            break
        owner.assert_readable(credentials)
        assert rotate_kms.rotate(store, warehouse, kms, now=NOW)
        assert owner.versions() == {kms.check()}
    owner.assert_readable(credentials)
    assert deaths > 15
    assert verify(store, warehouse, orgs=[owner.slug]) == {owner.slug: None}
    ship(store, warehouse)
    kms_register.mend(store, warehouse, now=NOW + timedelta(minutes=1), orgs=[owner.slug])
    ship(store, warehouse)
    assert set(registered(warehouse, owner.slug)) == {kms.check()}
    mortal_store.close()


def test_every_ciphertext_comes_to_the_new_version_and_opens_as_before(
    store: StateStore,
    warehouse: Warehouse,
    *,
    kms: KeyManager,
    credentials: Credentials,
    owner: Owner,
    quiet: list[str],
) -> None:
    old = kms.check()
    new = kms.new_version()
    assert (kms.check(), owner.versions()) == (new, {old})
    assert rotate_kms.rotate(store, warehouse, kms, now=NOW)
    assert owner.versions() == {new}
    owner.assert_readable(credentials)
    assert any(line.endswith(f"ciphertexts: {owner.slug}") for line in quiet)
    before = owner.rows("org_integration_credentials")
    assert rotate_kms.rotate(store, warehouse, kms, now=NOW)
    assert owner.rows("org_integration_credentials") == before, "what is new stays untouched"


def test_the_register_says_what_each_version_protects_and_the_audit_who_moved_it(
    store: StateStore,
    warehouse: Warehouse,
    *,
    kms: KeyManager,
    owner: Owner,
    quiet: list[str],
) -> None:
    ship(store, warehouse)
    old = kms.check()
    ids = {row["credential_id"] for row in owner.rows("org_integration_credentials")}
    ids |= set(owner.key_ids)
    assert registered(warehouse, owner.slug) == {old: ids}
    new = kms.new_version()
    work = Reencryption(store=store, warehouse=warehouse, kms=kms, version=new, by=BY)
    assert work.org(owner.slug, now=NOW + timedelta(seconds=1)) == Reencrypted(owner.slug, 4)
    ship(store, warehouse)
    assert registered(warehouse, owner.slug) == {new: ids}
    assert kms_register.mend(store, warehouse, now=NOW, orgs=[owner.slug]) == 0
    told = [row for row in owner.audit() if row["action"] == "kms.reencrypt"]
    assert [row["result"] for row in told] == ["ATTEMPTED", "SUCCEEDED"]
    assert told[-1]["details"]["moved"] == 4
    assert verify(store, warehouse, orgs=[owner.slug]) == {owner.slug: None}


def test_what_a_crash_kept_out_of_the_register_is_found(
    store: StateStore, warehouse: Warehouse, *, owner: Owner, credentials: Credentials
) -> None:
    def mend() -> int:
        return kms_register.mend(store, warehouse, now=NOW, orgs=[owner.slug])

    assert mend() == 0, "what waits to be shipped is told"
    with store.begin() as conn:
        conn.execute(outbox.delete().where(outbox.c.table_name == kms_register.KMS_LOG))
    assert mend() == 4
    assert mend() == 0
    ship(store, warehouse)
    credentials.delete(owner.slug, "OPENAI", by=BY, now=NOW)
    with store.begin() as conn:
        conn.execute(outbox.delete().where(outbox.c.table_name == kms_register.KMS_LOG))
    assert mend() == 1
    ship(store, warehouse)
    assert mend() == 0
    rows = [row for row in owner.register() if row["status"] == "RETIRED"]
    assert [row["reason"] for row in rows] == ["DELETED"]


def test_what_is_gone_is_retired_and_keeps_no_ciphertext(
    store: StateStore, warehouse: Warehouse, *, credentials: Credentials, owner: Owner
) -> None:
    first, second = owner.key_ids
    revoke_key(store, warehouse, org_slug=owner.slug, key_id=first, by=BY, now=NOW)
    credentials.delete(owner.slug, "OPENAI", by=BY, now=NOW)
    replaced = put(credentials, owner.slug, "ANTHROPIC", ANTHROPIC)
    ship(store, warehouse)
    (protected,) = registered(warehouse, owner.slug).values()
    assert protected == {second, replaced}
    assert kms_register.mend(store, warehouse, now=NOW, orgs=[owner.slug]) == 0
    removal.remove(store, warehouse, org_slug=owner.slug, delete_data=False, by=BY, now=NOW)
    ship(store, warehouse)
    assert registered(warehouse, owner.slug) == {}
    assert kms_register.mend(store, warehouse, now=NOW, orgs=[owner.slug]) == 0
    assert not any(row["key_ciphertext"] for row in owner.rows("org_api_keys"))


class Meddling(KeyManager):
    """Lets the org replace a credential while its old one is encrypted anew."""

    def __init__(self, kms: KeyManager, meddle: Any) -> None:
        super().__init__(kms._client, kms.key_name)
        self._meddle = meddle

    def encrypt(self, plaintext: bytes, *, aad: bytes) -> Any:
        meddle, self._meddle = self._meddle, None
        if meddle is not None:
            meddle()
        return super().encrypt(plaintext, aad=aad)


def test_a_credential_replaced_meanwhile_is_not_overwritten(
    store: StateStore,
    warehouse: Warehouse,
    *,
    kms: KeyManager,
    credentials: Credentials,
    owner: Owner,
) -> None:
    version = kms.new_version()
    meddling = Meddling(kms, lambda: put(credentials, owner.slug, "ANTHROPIC", "sk-ant-new-one"))
    work = Reencryption(store=store, warehouse=warehouse, kms=meddling, version=version, by=BY)
    assert work.org(owner.slug, now=NOW) == Reencrypted(owner.slug, moved=3, changed=1)
    assert credentials.open(owner.slug, "ANTHROPIC") == "sk-ant-new-one"
    assert owner.versions() == {version}


class Lying(KeyManager):
    """Answers with a ciphertext of something else."""

    def encrypt(self, plaintext: bytes, *, aad: bytes) -> Ciphertext:
        return super().encrypt(b"something else", aad=aad)


def test_what_would_not_decrypt_to_the_same_replaces_nothing(
    store: StateStore,
    warehouse: Warehouse,
    *,
    kms: KeyManager,
    credentials: Credentials,
    owner: Owner,
) -> None:
    old, new = kms.check(), kms.new_version()
    lying = Lying(kms._client, kms.key_name)
    work = Reencryption(store=store, warehouse=warehouse, kms=lying, version=new, by=BY)
    assert len(work.org(owner.slug, now=NOW).unreadable) == 4
    assert owner.versions() == {old}
    owner.assert_readable(credentials)


def test_one_that_does_not_decrypt_is_named_and_left_and_the_others_go_on(
    store: StateStore,
    warehouse: Warehouse,
    *,
    kms: KeyManager,
    credentials: Credentials,
    owner: Owner,
    quiet: list[str],
) -> None:
    damaged = credentials.get(owner.slug, "OPENAI").credential_id
    warehouse.client.query_and_wait(
        f"UPDATE organizations.org_integration_credentials SET ciphertext = b'damaged' "
        f"WHERE credential_id = '{damaged}'"  # ours
    )
    old, new = kms.check(), kms.new_version()
    assert not rotate_kms.rotate(store, warehouse, kms, now=NOW)
    assert any(damaged in line for line in quiet)
    assert owner.versions() == {old, new}
    assert credentials.open(owner.slug, "ANTHROPIC") == ANTHROPIC
    with pytest.raises(DecryptionError):
        credentials.open(owner.slug, "OPENAI")
    credentials.delete(owner.slug, "OPENAI", by=BY, now=NOW)


def test_the_tool_makes_a_version_and_says_what_it_did(
    store: StateStore,
    settings: Settings,
    *,
    owner: Owner,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rotate_kms, "get_settings", lambda: settings)
    monkeypatch.setattr(StateStore, "connect", lambda _url: store)
    assert rotate_kms.main(["--new-version"]) == 0
    out = capsys.readouterr().out
    with connect_kms(settings) as kms:
        newest = kms.check()
    assert f"made {newest}" in out
    assert f"{newest} protects " in out
    assert not any(secret in out for secret in (OPENAI, ANTHROPIC, *owner.secrets))
    assert owner.versions() == {newest}


def test_a_service_that_does_not_answer_is_told_and_the_rest_can_be_done_later(
    store: StateStore,
    settings: Settings,
    *,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_given: object, **_named: object) -> None:
        raise ConvergenceError("no answer")

    monkeypatch.setattr(rotate_kms, "get_settings", lambda: settings)
    monkeypatch.setattr(StateStore, "connect", lambda _url: store)
    monkeypatch.setattr(rotate_kms, "rotate", refuse)
    assert rotate_kms.main([]) == 2
    assert "run it again" in capsys.readouterr().err
