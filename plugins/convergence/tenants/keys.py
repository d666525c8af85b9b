"""Org keys: issued once, found by their digest, revoked for every process within a minute."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from convergence.errors import NotFoundError
from convergence.security.keys import digest, last_four, new_org_key
from convergence.security.kms import KeyManager, api_key_aad
from convergence.state.store import StateStore
from convergence.tenants.audit import Act, Actor, audited
from convergence.warehouse.client import Warehouse
from convergence.warehouse.params import typed
from convergence.warehouse.query import run_file


@dataclass(frozen=True)
class IssuedKey:
    """A new key. `secret` is shown once and kept nowhere but encrypted."""

    key_id: str
    org_slug: str
    last_four: str
    scopes: tuple[str, ...]
    created_at: datetime
    not_after: datetime | None
    secret: str = field(repr=False)


@dataclass(frozen=True)
class KnownKey:
    """A key as it may be shown."""

    key_id: str
    org_slug: str
    last_four: str
    scopes: tuple[str, ...]
    status: str
    created_at: datetime
    not_after: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


def issue_key(
    store: StateStore,
    warehouse: Warehouse,
    kms: KeyManager,
    org_slug: str,
    *,
    scopes: Sequence[str],
    by: Actor,
    now: datetime,
    not_after: datetime | None = None,
) -> IssuedKey:
    """Make a key for an org and store its digest and its ciphertext.

    Args:
        store: where the audit is kept.
        warehouse: where the key's row goes.
        kms: encrypts the copy that only support opens.
        org_slug: an org that exists.
        scopes: what the key opens; at least one.
        by: who asks for it.
        now: the instant.
        not_after: from when on the key is refused; None for no end.

    Raises:
        KeyServiceUnavailableError, WarehouseUnavailableError: nothing was issued; ask again.
    """
    secret, key_id = new_org_key(org_slug), f"key_{uuid.uuid4().hex[:16]}"
    with audited(store, Act(org_slug, by, "api_key.issue", key_id), now=now):
        sealed = kms.encrypt(secret.encode(), aad=api_key_aad(org_slug, key_id))
        run_file(
            warehouse,
            warehouse.sql("tenants/key_insert.sql"),
            params={
                "org_slug": org_slug,
                "key_id": key_id,
                "key_hash": digest(secret),
                "key_ciphertext": sealed.data,
                "kms_key_version": sealed.key_version,
                "last_four": last_four(secret),
                "scopes": list(scopes),
                "created_by": by.id,
                "now": now,
                "not_after": typed(not_after, "TIMESTAMP"),
            },
        )
    return IssuedKey(
        key_id=key_id,
        org_slug=org_slug,
        last_four=last_four(secret),
        scopes=tuple(scopes),
        created_at=now,
        not_after=not_after,
        secret=secret,
    )


def revoke_key(
    store: StateStore,
    warehouse: Warehouse,
    *,
    org_slug: str,
    key_id: str,
    by: Actor,
    now: datetime,
) -> None:
    """Revoke an org's key; every process refuses it once its cache forgets, within a minute.

    Raises:
        NotFoundError: the org has no such key.
    """
    if not any(key.key_id == key_id for key in list_keys(warehouse, org_slug)):
        raise NotFoundError("There is no such key")
    with audited(store, Act(org_slug, by, "api_key.revoke", key_id), now=now):
        run_file(
            warehouse,
            warehouse.sql("tenants/key_revoke.sql"),
            params={"org_slug": org_slug, "key_id": key_id, "now": now},
        )


def list_keys(warehouse: Warehouse, org_slug: str) -> list[KnownKey]:
    """The org's keys, newest first; never their digests."""
    rows = run_file(
        warehouse, warehouse.sql("tenants/keys_list.sql"), params={"org_slug": org_slug}
    )
    return [KnownKey(**{**row, "scopes": tuple(row["scopes"])}) for row in rows]
