"""Org keys: issued once, found by their digest, revoked for every process within seconds.

An org has two active keys at most, so that one can replace the other without a gap.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

from convergence.errors import ConflictError, NotFoundError
from convergence.security.keys import compute_digest, last_four, new_org_key
from convergence.security.kms import KeyManager, api_key_aad
from convergence.state.leases import hold_lease
from convergence.state.store import StateStore
from convergence.tenants.api_keys import key_digests
from convergence.tenants.api_keys.key_digests import KeyDigest
from convergence.tenants.audit import Actor, AuditedAction, AuditedChange, audit_change
from convergence.tenants.encryption import kms_register
from convergence.tenants.encryption.kms_register import Subject
from convergence.warehouse.client import Warehouse
from convergence.warehouse.params import Param, typed
from convergence.warehouse.query import run_file

MAX_ACTIVE_KEYS = 2
DEFAULT_OVERLAP = timedelta(hours=24)
MAX_OVERLAP = timedelta(days=30)


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
    kms_key_version: str | None = None

    def is_active(self, now: datetime) -> bool:
        """Return whether the key is valid for its org at this instant."""
        return self.status == "ACTIVE" and (self.not_after is None or self.not_after > now)


@dataclass(frozen=True)
class Rotation:
    """A new key, and from when on the one that it replaces is refused."""

    issued: IssuedKey
    replaced_key_id: str
    replaced_not_after: datetime


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
        ConflictError: the org has two active keys.
        RequestInFlightError: its keys are being changed at this moment.
        KeyServiceUnavailableError, WarehouseUnavailableError: nothing was issued; ask again.
    """
    new = _NewKey.of(org_slug, scopes=scopes, now=now, not_after=not_after)
    with _lock_keys(store, org_slug):
        _check_key_count(list_keys(warehouse, org_slug), now=now)
        act = AuditedAction(org_slug, by, "api_key.issue", new.key_id)
        with audit_change(store, act, now=now) as change:
            params = new.params(kms, by=by, change=change)
            run_file(warehouse, warehouse.sql("tenants/key_insert.sql"), params=params)
    return new.issued


def rotate_key(
    store: StateStore,
    warehouse: Warehouse,
    kms: KeyManager,
    org_slug: str,
    *,
    by: Actor,
    now: datetime,
    overlap: timedelta = DEFAULT_OVERLAP,
    key_id: str | None = None,
) -> Rotation:
    """Replace a key by a new one with the same scopes; both open the org for the overlap.

    The new key's row and the old one's end are one statement: there is never one without the
    other.

    Args:
        store: where the audit is kept.
        warehouse: where the keys are.
        kms: encrypts the copy that only support opens.
        org_slug: an org that has an active key.
        by: who asks for it.
        now: the instant.
        overlap: how long the old key stays good; never longer than it would have been.
        key_id: which key, where two are active.

    Raises:
        NotFoundError: the org has no such active key.
        ConflictError: two keys are active and none was named, or both would stay active.
        RequestInFlightError: the org's keys are being changed at this moment.
        KeyServiceUnavailableError, WarehouseUnavailableError: nothing was changed; ask again.
    """
    with _lock_keys(store, org_slug):
        known = list_keys(warehouse, org_slug)
        old = _select_replaced_key(known, key_id, now=now)
        _check_key_count([key for key in known if overlap or key.key_id != old.key_id], now=now)
        ends = min(now + overlap, old.not_after or now + overlap)
        new = _NewKey.of(org_slug, scopes=old.scopes, now=now)
        details = {"new_key": new.key_id, "old_not_after": ends.isoformat()}
        act = AuditedAction(org_slug, by, "api_key.rotate", old.key_id)
        with audit_change(store, act, now=now, details=details) as change:
            params = new.params(kms, by=by, change=change)
            change.add_write(
                partial(
                    key_digests.expire_digest, org_slug=org_slug, key_id=old.key_id, not_after=ends
                )
            )
            params |= {"old_key_id": old.key_id, "old_not_after": ends}
            run_file(warehouse, warehouse.sql("tenants/key_rotate.sql"), params=params)
    return Rotation(new.issued, old.key_id, ends)


def revoke_key(
    store: StateStore,
    warehouse: Warehouse,
    *,
    org_slug: str,
    key_id: str,
    by: Actor,
    now: datetime,
) -> None:
    """Revoke an org's key; every process refuses it within seconds. Doing it again changes nothing.

    Raises:
        NotFoundError: the org has no such key.
    """
    known = [key for key in list_keys(warehouse, org_slug) if key.key_id == key_id]
    if not known:
        raise NotFoundError("There is no such key")
    with audit_change(
        store, AuditedAction(org_slug, by, "api_key.revoke", key_id), now=now
    ) as change:
        run_file(
            warehouse,
            warehouse.sql("tenants/key_revoke.sql"),
            params={"org_slug": org_slug, "key_id": key_id, "now": now},
        )
        change.add_write(
            partial(kms_register.retire_subjects, subjects=list_key_subjects(known), now=now)
        )
        change.add_write(partial(key_digests.remove_digests, org_slug=org_slug, key_id=key_id))


def list_key_subjects(keys: Sequence[KnownKey]) -> dict[Subject, str | None]:
    """List the KMS key versions of the keys that are not revoked."""
    return {
        Subject(key.org_slug, "api_key", key.key_id): key.kms_key_version
        for key in keys
        if key.status == "ACTIVE"
    }


def list_keys(warehouse: Warehouse, org_slug: str) -> list[KnownKey]:
    """List the org's keys, newest first, without digests."""
    rows = run_file(
        warehouse, warehouse.sql("tenants/keys_list.sql"), params={"org_slug": org_slug}
    )
    return [KnownKey(**{**row, "scopes": tuple(row["scopes"])}) for row in rows]


def record_uses(warehouse: Warehouse, uses: Mapping[str, datetime]) -> None:
    """Write down when keys were last used, in one statement; an older use changes nothing.

    Args:
        warehouse: where the keys are.
        uses: key id → instant; all are recorded as of the latest of them.
    """
    if uses:
        run_file(
            warehouse,
            warehouse.sql("tenants/keys_used.sql"),
            params={"key_ids": sorted(uses), "used_at": max(uses.values())},
        )


@dataclass(frozen=True)
class _NewKey:
    """A key that has been thought of and not stored yet."""

    issued: IssuedKey

    @classmethod
    def of(
        cls,
        org_slug: str,
        *,
        scopes: Sequence[str],
        now: datetime,
        not_after: datetime | None = None,
    ) -> _NewKey:
        secret = new_org_key(org_slug)
        issued = IssuedKey(
            key_id=f"key_{uuid.uuid4().hex[:16]}",
            org_slug=org_slug,
            last_four=last_four(secret),
            scopes=tuple(scopes),
            created_at=now,
            not_after=not_after,
            secret=secret,
        )
        return cls(issued)

    @property
    def key_id(self) -> str:
        return self.issued.key_id

    def params(self, kms: KeyManager, *, by: Actor, change: AuditedChange) -> dict[str, Param]:
        key = self.issued
        sealed = kms.encrypt(key.secret.encode(), aad=api_key_aad(key.org_slug, key.key_id))
        change.add_write(
            partial(
                kms_register.write_version,
                subject=Subject(key.org_slug, "api_key", key.key_id),
                kms_key_version=sealed.key_version,
                reason="ENCRYPTED",
                now=key.created_at,
            )
        )
        change.add_write(partial(key_digests.put_digest, key=self._digest()))
        return {
            "org_slug": key.org_slug,
            "key_id": key.key_id,
            "key_hash": compute_digest(key.secret),
            "key_ciphertext": sealed.data,
            "kms_key_version": sealed.key_version,
            "last_four": key.last_four,
            "scopes": list(key.scopes),
            "created_by": by.id,
            "now": key.created_at,
            "not_after": typed(key.not_after, "TIMESTAMP"),
        }

    def _digest(self) -> KeyDigest:
        key = self.issued
        return KeyDigest(
            compute_digest(key.secret), key.key_id, key.org_slug, key.scopes, key.not_after
        )


def _lock_keys(store: StateStore, org_slug: str) -> AbstractContextManager[None]:
    return hold_lease(store, f"api_keys|{org_slug}")


def _check_key_count(known: Sequence[KnownKey], *, now: datetime) -> None:
    active = [key.key_id for key in known if key.is_active(now)]
    if len(active) >= MAX_ACTIVE_KEYS:
        raise ConflictError(
            f"The organization has {MAX_ACTIVE_KEYS} active keys; revoke one first.",
            limit="active_keys",
            maximum=MAX_ACTIVE_KEYS,
            used=len(active),
        )


def _select_replaced_key(
    known: Sequence[KnownKey], key_id: str | None, *, now: datetime
) -> KnownKey:
    active = [key for key in known if key.is_active(now) and key_id in {None, key.key_id}]
    if not active:
        raise NotFoundError("There is no such active key")
    if len(active) > 1:
        raise ConflictError("Two keys are active: say which by `key_id`.", field="key_id")
    return active[0]
