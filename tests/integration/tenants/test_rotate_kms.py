"""Move every ciphertext to a new KMS key version: resumable, exact, recorded in the register."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from convergence.errors import ConvergenceError, DecryptionError
from convergence.security.kms import Ciphertext, KeyManager, connect_kms
from convergence.settings import Settings
from convergence.state.schema.tables import outbox
from convergence.state.store import StateStore
from convergence.tenants import removal
from convergence.tenants.api_keys.keys import revoke_key
from convergence.tenants.audit_verify import verify_chains
from convergence.tenants.credentials import Credentials
from convergence.tenants.encryption import kms_register, rotate_kms
from convergence.tenants.encryption.reencryption import OrgReencryption, ReencryptionPass
from convergence.tenants.shipping import ship_outbox
from convergence.warehouse.client import Warehouse
from support.tenant_owner import ANTHROPIC, BY, NOW, OPENAI, Owner, put, registered


def test_every_ciphertext_comes_to_the_new_version_and_opens_as_before(
    store: StateStore,
    warehouse: Warehouse,
    *,
    kms: KeyManager,
    credentials: Credentials,
    owner: Owner,
    quiet: list[str],
) -> None:
    old = kms.get_primary_version()
    new = kms.create_version()
    assert (kms.get_primary_version(), owner.versions()) == (new, {old})
    assert rotate_kms.rotate_ciphertexts(store, warehouse, kms, now=NOW)
    assert owner.versions() == {new}
    owner.assert_readable(credentials)
    assert any(line.endswith(f"ciphertexts: {owner.slug}") for line in quiet)
    before = owner.rows("org_integration_credentials")
    assert rotate_kms.rotate_ciphertexts(store, warehouse, kms, now=NOW)
    assert owner.rows("org_integration_credentials") == before, "what is new stays untouched"


def test_the_register_says_what_each_version_protects_and_the_audit_who_moved_it(
    store: StateStore,
    warehouse: Warehouse,
    *,
    kms: KeyManager,
    owner: Owner,
    quiet: list[str],
) -> None:
    ship_outbox(store, warehouse)
    old = kms.get_primary_version()
    ids = {row["credential_id"] for row in owner.rows("org_integration_credentials")}
    ids |= set(owner.key_ids)
    assert registered(warehouse, owner.slug) == {old: ids}
    new = kms.create_version()
    work = ReencryptionPass(store=store, warehouse=warehouse, kms=kms, version=new, by=BY)
    assert work.reencrypt_org(owner.slug, now=NOW + timedelta(seconds=1)) == OrgReencryption(
        owner.slug, 4
    )
    ship_outbox(store, warehouse)
    assert registered(warehouse, owner.slug) == {new: ids}
    assert kms_register.repair_register(store, warehouse, now=NOW, orgs=[owner.slug]) == 0
    told = [row for row in owner.audit() if row["action"] == "kms.reencrypt"]
    assert [row["result"] for row in told] == ["ATTEMPTED", "SUCCEEDED"]
    assert told[-1]["details"]["moved"] == 4
    assert verify_chains(store, warehouse, orgs=[owner.slug]) == {owner.slug: None}


def test_what_a_crash_kept_out_of_the_register_is_found(
    store: StateStore, warehouse: Warehouse, *, owner: Owner, credentials: Credentials
) -> None:
    def mend() -> int:
        return kms_register.repair_register(store, warehouse, now=NOW, orgs=[owner.slug])

    assert mend() == 0, "rows that wait to be shipped are counted"
    with store.begin() as conn:
        conn.execute(outbox.delete().where(outbox.c.table_name == kms_register.KMS_LOG))
    assert mend() == 4
    assert mend() == 0
    ship_outbox(store, warehouse)
    credentials.delete_credential(owner.slug, "OPENAI", by=BY, now=NOW)
    with store.begin() as conn:
        conn.execute(outbox.delete().where(outbox.c.table_name == kms_register.KMS_LOG))
    assert mend() == 1
    ship_outbox(store, warehouse)
    assert mend() == 0
    rows = [row for row in owner.register() if row["status"] == "RETIRED"]
    assert [row["reason"] for row in rows] == ["DELETED"]


def test_what_is_gone_is_retired_and_keeps_no_ciphertext(
    store: StateStore, warehouse: Warehouse, *, credentials: Credentials, owner: Owner
) -> None:
    first, second = owner.key_ids
    revoke_key(store, warehouse, org_slug=owner.slug, key_id=first, by=BY, now=NOW)
    credentials.delete_credential(owner.slug, "OPENAI", by=BY, now=NOW)
    replaced = put(credentials, owner.slug, "ANTHROPIC", ANTHROPIC)
    ship_outbox(store, warehouse)
    (protected,) = registered(warehouse, owner.slug).values()
    assert protected == {second, replaced}
    assert kms_register.repair_register(store, warehouse, now=NOW, orgs=[owner.slug]) == 0
    removal.remove_org(store, warehouse, org_slug=owner.slug, delete_data=False, by=BY, now=NOW)
    ship_outbox(store, warehouse)
    assert registered(warehouse, owner.slug) == {}
    assert kms_register.repair_register(store, warehouse, now=NOW, orgs=[owner.slug]) == 0
    assert not any(row["key_ciphertext"] for row in owner.rows("org_api_keys"))


class Meddling(KeyManager):
    """Let the org replace a credential while its old one is re-encrypted."""

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
    version = kms.create_version()
    meddling = Meddling(kms, lambda: put(credentials, owner.slug, "ANTHROPIC", "sk-ant-new-one"))
    work = ReencryptionPass(store=store, warehouse=warehouse, kms=meddling, version=version, by=BY)
    assert work.reencrypt_org(owner.slug, now=NOW) == OrgReencryption(
        owner.slug, moved=3, changed=1
    )
    assert credentials.decrypt_credential(owner.slug, "ANTHROPIC") == "sk-ant-new-one"
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
    old, new = kms.get_primary_version(), kms.create_version()
    lying = Lying(kms._client, kms.key_name)
    work = ReencryptionPass(store=store, warehouse=warehouse, kms=lying, version=new, by=BY)
    assert len(work.reencrypt_org(owner.slug, now=NOW).unreadable) == 4
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
    damaged = credentials.get_credential(owner.slug, "OPENAI").credential_id
    warehouse.client.query_and_wait(
        f"UPDATE organizations.org_integration_credentials SET ciphertext = b'damaged' "
        f"WHERE credential_id = '{damaged}'"  # ours
    )
    old, new = kms.get_primary_version(), kms.create_version()
    assert not rotate_kms.rotate_ciphertexts(store, warehouse, kms, now=NOW)
    assert any(damaged in line for line in quiet)
    assert owner.versions() == {old, new}
    assert credentials.decrypt_credential(owner.slug, "ANTHROPIC") == ANTHROPIC
    with pytest.raises(DecryptionError):
        credentials.decrypt_credential(owner.slug, "OPENAI")
    credentials.delete_credential(owner.slug, "OPENAI", by=BY, now=NOW)


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
        newest = kms.get_primary_version()
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
    monkeypatch.setattr(rotate_kms, "rotate_ciphertexts", refuse)
    assert rotate_kms.main([]) == 2
    assert "run it again" in capsys.readouterr().err
