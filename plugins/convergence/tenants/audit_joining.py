"""Join a new state store to the shipped audit log, so that each org's chain continues there.

A new store does not know where the chains of the log end, and starts a new chain for each org.
Before it ships its first entry, it reads the ends of the log's chains and chains its own entries
again behind them. So nobody has to restore it by hand, and entries can be made while the log can't
be read.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection

from convergence.errors import StateUnavailableError
from convergence.state import audit_heads, outbox
from convergence.state.store import StateStore
from convergence.tenants.audit import AUDIT_LOG
from convergence.tenants.audit_chain import GENESIS, ChainHead, hash_entry
from convergence.warehouse.client import Warehouse
from convergence.warehouse.query import run_file

_BEGINNING = datetime(2020, 1, 1, tzinfo=UTC)
_TRIES = 5

Waiting = Sequence[tuple[str, dict[str, Any]]]


class _UnseenError(Exception):
    """Raised when an entry took a place of the log's chain after the log was read."""


@dataclass(frozen=True)
class JoinedChain:
    """An org whose chain continues after the log's newest entry; `rechained` entries moved."""

    org_slug: str
    after: ChainHead
    rechained: int


def join_new_store(store: StateStore, warehouse: Warehouse) -> list[JoinedChain]:
    """Join a store that was never joined, once it has an entry to ship; later calls do nothing.

    Raises:
        NotBootstrappedError: there is no log yet.
        WarehouseUnavailableError, StateUnavailableError: the log can't be read, or not as fast as
            entries are made; no audit entry may be shipped.
    """
    with store.read() as conn:
        if audit_heads.is_joined(conn) or not outbox.list_waiting_rows(conn, AUDIT_LOG):
            return []
    return _join_with_retries(store, warehouse, again=False)


def join_store(store: StateStore, warehouse: Warehouse) -> list[JoinedChain]:
    """Join a store even if it was joined before, as when it was restored from an older backup.

    Entries that it shipped since then stay; audit-verify reports two entries in one place.

    Raises:
        NotBootstrappedError, WarehouseUnavailableError: as `join_once`.
    """
    return _join_with_retries(store, warehouse, again=True)


def _join_with_retries(
    store: StateStore, warehouse: Warehouse, *, again: bool
) -> list[JoinedChain]:
    for _ in range(_TRIES):
        with suppress(_UnseenError):
            return _try_join(store, warehouse, again=again)
    raise StateUnavailableError("Audit entries are made faster than the log can be joined")


def _try_join(store: StateStore, warehouse: Warehouse, *, again: bool) -> list[JoinedChain]:
    ends = _read_ends(warehouse)
    with store.read() as conn:
        waiting = outbox.list_waiting_rows(conn, AUDIT_LOG)
    taken, seen = _find_taken_places(warehouse, waiting), {row["audit_id"] for row in waiting}
    with store.begin() as conn:
        if not (audit_heads.mark_joined(conn) or again):
            return []
        # Lock the heads first: a transaction that appends holds its head until it commits.
        known = {org: audit_heads.lock_head(conn, org, genesis=GENESIS) for org in sorted(ends)}
        mine = defaultdict(list)
        for row_id, row in outbox.list_waiting_entries(conn, AUDIT_LOG):
            org = row["org_slug"]
            in_the_log = org in ends and row["sequence"] <= ends[org].sequence
            if in_the_log and row["audit_id"] not in seen:
                raise _UnseenError
            mine[org].append((row_id, row))
        done = [
            _join_org(
                conn, org, ChainHead(*known[org]), end=ends[org], waiting=mine[org], taken=taken
            )
            for org in known
        ]
    return [one for one in done if one is not None]


def _join_org(
    conn: Connection,
    org: str,
    known: ChainHead,
    *,
    end: ChainHead,
    waiting: Waiting,
    taken: Mapping[tuple[str, int], str],
) -> JoinedChain | None:
    ordered = sorted(waiting, key=lambda entry: entry[1]["sequence"])
    for index, (_, row) in enumerate(ordered):
        holder = taken.get((org, row["sequence"]))
        if holder is not None and holder != row["audit_id"]:
            return _rechain(conn, org, ordered[index:], end=end)
    if known.sequence >= end.sequence:
        return None
    audit_heads.move_head(conn, org, sequence=end.sequence, entry_hash=end.entry_hash)
    return JoinedChain(org, end, 0)


def _rechain(conn: Connection, org: str, entries: Waiting, *, end: ChainHead) -> JoinedChain:
    place, before = end.sequence, end.entry_hash
    for row_id, row in entries:
        place += 1
        moved = row | {"sequence": place, "previous_hash": before}
        before = hash_entry(moved)
        outbox.rewrite_row(conn, row_id, moved | {"entry_hash": before})
    audit_heads.move_head(conn, org, sequence=place, entry_hash=before)
    return JoinedChain(org, end, len(entries))


def _read_ends(warehouse: Warehouse) -> dict[str, ChainHead]:
    path = warehouse.sql("tenants/audit_newest.sql")
    rows = run_file(warehouse, path, params={"since": _BEGINNING})
    return {row["org_slug"]: ChainHead(row["sequence"], row["entry_hash"]) for row in rows}


def _find_taken_places(
    warehouse: Warehouse, waiting: Sequence[Mapping[str, Any]]
) -> dict[Any, str]:
    """Return the log's entries whose sequence a waiting entry has too."""
    if not waiting:
        return {}
    params = {
        "since": _BEGINNING,
        "orgs": sorted({row["org_slug"] for row in waiting}),
        "places": sorted({row["sequence"] for row in waiting}),
    }
    rows = run_file(warehouse, warehouse.sql("tenants/audit_places.sql"), params=params)
    return {(row["org_slug"], row["sequence"]): row["audit_id"] for row in rows}
