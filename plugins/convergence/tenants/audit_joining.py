"""Joining a state store to the shipped audit log: a store that was lost goes on where it ends.

A new store does not know where the chains of the log end, and begins each anew. Before it ships
its first entry it asks the log; what it chained meanwhile is chained again, after the log's
newest entry. So no restoring by hand is needed, and no entry is refused while the log is away.
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
from convergence.tenants.audit_chain import GENESIS, Head, entry_hash
from convergence.warehouse.client import Warehouse
from convergence.warehouse.query import run_file

_BEGINNING = datetime(2020, 1, 1, tzinfo=UTC)
_TRIES = 5

Waiting = Sequence[tuple[str, dict[str, Any]]]


class _UnseenError(Exception):
    """Raised when an entry was made in a place that the log has, after the log was asked."""


@dataclass(frozen=True)
class Joined:
    """An org whose chain goes on after the log's newest entry, some of its entries chained anew."""

    org_slug: str
    after: Head
    chained_anew: int


def join_once(store: StateStore, warehouse: Warehouse) -> list[Joined]:
    """Join a store that never was joined, once it has an entry to ship; later calls ask nobody.

    Raises:
        NotBootstrappedError: there is no log yet.
        WarehouseUnavailableError, StateUnavailableError: the log can't be read, or not as fast as
            entries are made; no audit entry may be shipped.
    """
    with store.read() as conn:
        if audit_heads.joined(conn) or not outbox.rows_waiting(conn, AUDIT_LOG):
            return []
    return _join(store, warehouse, again=False)


def join(store: StateStore, warehouse: Warehouse) -> list[Joined]:
    """Join a store whatever it was told before, as when it came back from an older backup.

    What it shipped since then stays shipped: two entries of one place are told by audit-verify.

    Raises:
        NotBootstrappedError, WarehouseUnavailableError: as `join_once`.
    """
    return _join(store, warehouse, again=True)


def _join(store: StateStore, warehouse: Warehouse, *, again: bool) -> list[Joined]:
    for _ in range(_TRIES):
        with suppress(_UnseenError):
            return _try_join(store, warehouse, again=again)
    raise StateUnavailableError("Audit entries are made faster than the log can be joined")


def _try_join(store: StateStore, warehouse: Warehouse, *, again: bool) -> list[Joined]:
    ends = _ends(warehouse)
    with store.read() as conn:
        waiting = outbox.rows_waiting(conn, AUDIT_LOG)
    taken, seen = _taken(warehouse, waiting), {row["audit_id"] for row in waiting}
    with store.begin() as conn:
        if not (audit_heads.set_joined(conn) or again):
            return []
        # Heads first: whoever appends holds one until its entry can be seen.
        known = {org: audit_heads.take(conn, org, genesis=GENESIS) for org in sorted(ends)}
        mine = defaultdict(list)
        for row_id, row in outbox.entries_waiting(conn, AUDIT_LOG):
            org = row["org_slug"]
            in_the_log = org in ends and row["sequence"] <= ends[org].sequence
            if in_the_log and row["audit_id"] not in seen:
                raise _UnseenError
            mine[org].append((row_id, row))
        done = [
            _join_org(conn, org, Head(*known[org]), end=ends[org], waiting=mine[org], taken=taken)
            for org in known
        ]
    return [one for one in done if one is not None]


def _join_org(
    conn: Connection,
    org: str,
    known: Head,
    *,
    end: Head,
    waiting: Waiting,
    taken: Mapping[tuple[str, int], str],
) -> Joined | None:
    ordered = sorted(waiting, key=lambda entry: entry[1]["sequence"])
    for index, (_, row) in enumerate(ordered):
        holder = taken.get((org, row["sequence"]))
        if holder is not None and holder != row["audit_id"]:
            return _chain_anew(conn, org, ordered[index:], end=end)
    if known.sequence >= end.sequence:
        return None
    audit_heads.put(conn, org, sequence=end.sequence, entry_hash=end.entry_hash)
    return Joined(org, end, 0)


def _chain_anew(conn: Connection, org: str, entries: Waiting, *, end: Head) -> Joined:
    place, before = end.sequence, end.entry_hash
    for row_id, row in entries:
        place += 1
        moved = row | {"sequence": place, "previous_hash": before}
        before = entry_hash(moved)
        outbox.rewrite(conn, row_id, moved | {"entry_hash": before})
    audit_heads.put(conn, org, sequence=place, entry_hash=before)
    return Joined(org, end, len(entries))


def _ends(warehouse: Warehouse) -> dict[str, Head]:
    path = warehouse.sql("tenants/audit_newest.sql")
    rows = run_file(warehouse, path, params={"since": _BEGINNING})
    return {row["org_slug"]: Head(row["sequence"], row["entry_hash"]) for row in rows}


def _taken(warehouse: Warehouse, waiting: Sequence[Mapping[str, Any]]) -> dict[Any, str]:
    """Which entry of the log stands in a place that a waiting entry has too."""
    if not waiting:
        return {}
    params = {
        "since": _BEGINNING,
        "orgs": sorted({row["org_slug"] for row in waiting}),
        "places": sorted({row["sequence"] for row in waiting}),
    }
    rows = run_file(warehouse, warehouse.sql("tenants/audit_places.sql"), params=params)
    return {(row["org_slug"], row["sequence"]): row["audit_id"] for row in rows}
