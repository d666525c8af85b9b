"""Delete rows that the store no longer needs.

Tables with one row per org, or per org and pipeline, are kept: cache versions, heads of audit
chains, configurations. All tables that grow with time are pruned here.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, Table, delete, select, tuple_, update

from convergence.state.audit_heads import AUDIT_LOG
from convergence.state.org_runs import ENDED
from convergence.state.schema.tables import (
    execution_queue,
    idempotency_keys,
    leases,
    notifications,
    org_runs,
    org_steps,
    outbox,
    outbox_leases,
    slice_attempts,
)
from convergence.state.store import StateStore

# The month's quota is counted from these rows, and status pages look a while back.
RUNS_KEPT = timedelta(days=90)
REJECTED_ROWS_KEPT = timedelta(days=90)
# No process that froze so long ago is still about to publish.
ATTEMPTS_KEPT = timedelta(days=90)
LEASES_KEPT = timedelta(days=1)
# Rows of each kind per call, so that no other writer waits long; the next call deletes more.
MAX_ROWS_PER_CALL = 1000


@dataclass(frozen=True)
class PrunedRows:
    """The number of deleted rows, by kind."""

    idempotency_keys: int
    runs: int
    steps: int
    queue_entries: int
    slice_attempts: int
    refused_rows: int
    leases: int
    notifications: int


def prune_store(
    store: StateStore, *, now: datetime, runs_kept: timedelta = RUNS_KEPT
) -> PrunedRows:
    """Delete expired keys, and runs and queue entries that ended long ago, with their rows.

    The warehouse has the record of every run, and the ledger the newest attempt at a slice; a
    shipped outbox row is deleted at once. Rejected outbox rows are deleted too, except those of
    the audit log: a chain must not lose an entry.
    """
    long_ago = now - runs_kept
    queued = execution_queue.c.ended_at < long_ago
    refused = outbox.c.rejection.is_not(None) & (outbox.c.enqueued_at < now - REJECTED_ROWS_KEPT)
    refused &= outbox.c.table_name != AUDIT_LOG
    idle = outbox_leases.c.owner.is_(None) & (outbox_leases.c.expires_at < long_ago)
    with store.begin() as conn:
        runs, steps = _prune_runs(conn, before=long_ago)
        return PrunedRows(
            idempotency_keys=_delete_rows(
                conn, idempotency_keys, idempotency_keys.c.expires_at <= now
            ),
            runs=runs,
            steps=steps,
            queue_entries=_delete_rows(conn, execution_queue, queued),
            slice_attempts=_prune_attempts(conn, now=now),
            refused_rows=_delete_rows(conn, outbox, refused),
            leases=_delete_rows(conn, outbox_leases, idle)
            + _delete_rows(conn, leases, leases.c.expires_at < now - LEASES_KEPT),
            notifications=_delete_rows(conn, notifications, notifications.c.claimed_at < long_ago),
        )


def _prune_runs(conn: Connection, *, before: datetime) -> tuple[int, int]:
    old = org_runs.c.status.in_(ENDED) & (org_runs.c.ended_at < before)
    found = conn.execute(select(org_runs.c.run_id).where(old).limit(MAX_ROWS_PER_CALL))
    ids = list(found.scalars())
    steps = conn.execute(delete(org_steps).where(org_steps.c.run_id.in_(ids))).rowcount
    return conn.execute(delete(org_runs).where(org_runs.c.run_id.in_(ids))).rowcount, steps


def _prune_attempts(conn: Connection, *, now: datetime) -> int:
    taken_at = slice_attempts.c.taken_at
    # Earlier releases did not record when a number was taken: its age counts from now.
    conn.execute(update(slice_attempts).where(taken_at.is_(None)).values(taken_at=now))
    return _delete_rows(conn, slice_attempts, taken_at < now - ATTEMPTS_KEPT)


def _delete_rows(conn: Connection, table: Table, over: ColumnElement[bool]) -> int:
    key = tuple_(*table.primary_key)
    chosen = select(*table.primary_key).where(over).limit(MAX_ROWS_PER_CALL)
    return conn.execute(delete(table).where(key.in_(chosen))).rowcount
