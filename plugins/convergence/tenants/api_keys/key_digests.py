"""The digests of active API keys in the state store, so that a lookup never reaches BigQuery.

The warehouse has the keys; the store has a copy. A change of a key changes the copy in the
transaction of its audit entry. `refresh` compares all of it with the warehouse: at the first
lookup in an empty store, and every half minute for changes made in the warehouse by hand.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, delete, select, update

from convergence.errors import (
    ConvergenceError,
    RequestInFlightError,
    StateUnavailableError,
)
from convergence.state import cache_versions
from convergence.state.leases import hold_lease
from convergence.state.schema.tables import api_keys, build_upsert, state_meta
from convergence.state.store import StateStore
from convergence.warehouse.client import Warehouse
from convergence.warehouse.query import run_file

LEASE = "api_keys|refresh"
_FILLED = "api_keys_filled_at"
_WAIT_SECONDS = 20.0
# After a failed fill, so that requests with unknown keys do not cause a query each.
_PAUSE_SECONDS = 2.0


@dataclass(frozen=True)
class KeyDigest:
    """An active key as the store keeps it: never the key."""

    key_hash: str
    key_id: str
    org_slug: str
    scopes: tuple[str, ...]
    not_after: datetime | None


def find_digest(conn: Connection, key_hash: str) -> KeyDigest | None:
    """Return the active key of this digest."""
    row = (
        conn.execute(select(api_keys).where(api_keys.c.key_hash == key_hash))
        .mappings()
        .one_or_none()
    )
    return _build_digest(row) if row else None


def put_digest(conn: Connection, key: KeyDigest) -> None:
    """Add a key, or replace what is known of it."""
    statement = build_upsert(conn, api_keys).values(**_build_values(key))
    changed = {name: statement.excluded[name] for name in _build_values(key) if name != "key_hash"}
    conn.execute(statement.on_conflict_do_update(index_elements=["key_hash"], set_=changed))


def expire_digest(conn: Connection, *, org_slug: str, key_id: str, not_after: datetime) -> None:
    """Record from when on a key is refused."""
    mine = (api_keys.c.org_slug == org_slug) & (api_keys.c.key_id == key_id)
    conn.execute(update(api_keys).where(mine).values(not_after=not_after))


def remove_digests(conn: Connection, *, org_slug: str, key_id: str | None = None) -> None:
    """Forget a key, or all keys of an org."""
    statement = delete(api_keys).where(api_keys.c.org_slug == org_slug)
    if key_id is not None:
        statement = statement.where(api_keys.c.key_id == key_id)
    conn.execute(statement)


def is_complete(conn: Connection) -> bool:
    """Return whether the store is filled: an unknown digest is then invalid."""
    query = select(state_meta.c.value).where(state_meta.c.name == _FILLED)
    return conn.execute(query).scalar_one_or_none() is not None


def refresh_digests(store: StateStore, warehouse: Warehouse) -> int:
    """Copy the digests from the warehouse; return the number of changed keys.

    The keys of an org that changes meanwhile are left as its change writes them.

    Raises:
        RequestInFlightError: another process is at it.
        NotBootstrappedError, WarehouseUnavailableError: nothing was changed.
    """
    with hold_lease(store, LEASE):
        with store.read() as conn:
            before = cache_versions.read_versions(conn)
        rows = run_file(warehouse, warehouse.sql("tenants/keys_active.sql"), params={})
        current = {row["key_hash"]: _build_digest(row) for row in rows}
        with store.begin() as conn:
            return _apply_changes(conn, current, before)


def _apply_changes(
    conn: Connection, current: Mapping[str, KeyDigest], before: Mapping[str, int]
) -> int:
    moved = {
        org
        for org, version in cache_versions.read_versions(conn).items()
        if before.get(org) != version
    }
    known = {
        row["key_hash"]: _build_digest(row) for row in conn.execute(select(api_keys)).mappings()
    }
    new = [key for name, key in current.items() if known.get(name) != key]
    gone = [key for name, key in known.items() if name not in current]
    new, gone = ([key for key in keys if key.org_slug not in moved] for keys in (new, gone))
    for key in new:
        put_digest(conn, key)
    for key in gone:
        conn.execute(delete(api_keys).where(api_keys.c.key_hash == key.key_hash))
    if is_complete(conn):
        # Processes that remember one of these look it up again within seconds.
        for org_slug in {key.org_slug for key in (*new, *gone)}:
            cache_versions.increment_version(conn, org_slug)
    mark = build_upsert(conn, state_meta).values(name=_FILLED, value=datetime.now(UTC).isoformat())
    value = {"value": mark.excluded.value}
    conn.execute(mark.on_conflict_do_update(index_elements=["name"], set_=value))
    return len(new) + len(gone)


class KeyDigests:
    """Looks keys up for one process; fills an empty store once."""

    def __init__(self, store: StateStore, warehouse: Warehouse) -> None:
        self._store = store
        self._warehouse = warehouse
        self._lock = threading.Lock()
        self._failure: tuple[float, ConvergenceError] | None = None

    def find_key(self, key_hash: str) -> KeyDigest | None:
        """Return the active key of this digest; None of an unknown one, once the store is full.

        Raises:
            ConvergenceError: the store had to be filled and could not be.
        """
        with self._store.read() as conn:
            found = find_digest(conn, key_hash)
            complete = found is not None or is_complete(conn)
        if complete:
            return found
        self._fill_store()
        with self._store.read() as conn:
            return find_digest(conn, key_hash)

    def _fill_store(self) -> None:
        with self._lock:
            if self._failure and time.monotonic() - self._failure[0] < _PAUSE_SECONDS:
                raise self._failure[1]
            try:
                self._fill_digests()
            except ConvergenceError as error:
                self._failure = (time.monotonic(), error)
                raise

    def _fill_digests(self) -> None:
        give_up = time.monotonic() + _WAIT_SECONDS
        while time.monotonic() < give_up:
            with self._store.read() as conn:
                if is_complete(conn):
                    return
            with suppress(RequestInFlightError):
                refresh_digests(self._store, self._warehouse)
                return
            time.sleep(0.1)
        raise StateUnavailableError("The API keys are being read; try again")


def _build_digest(row: Mapping[Any, Any]) -> KeyDigest:
    return KeyDigest(
        key_hash=row["key_hash"],
        key_id=row["key_id"],
        org_slug=row["org_slug"],
        scopes=tuple(row["scopes"]),
        not_after=row["not_after"],
    )


def _build_values(key: KeyDigest) -> dict[str, Any]:
    return {
        "key_hash": key.key_hash,
        "key_id": key.key_id,
        "org_slug": key.org_slug,
        "scopes": list(key.scopes),
        "not_after": key.not_after,
    }
