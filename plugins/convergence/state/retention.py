"""Forget what the store need not remember any longer."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, select

from convergence.state.org_runs import ENDED
from convergence.state.store import StateStore
from convergence.state.tables import (
    idempotency_keys,
    notifications,
    org_runs,
    org_steps,
    outbox,
    outbox_leases,
)

# The month's quota is counted from these rows, and status pages look a while back.
RUNS_KEPT = timedelta(days=90)
REFUSED_ROWS_KEPT = timedelta(days=90)


@dataclass(frozen=True)
class Pruned:
    """How many rows went, by kind."""

    idempotency_keys: int
    runs: int
    steps: int
    refused_rows: int
    leases: int
    notifications: int


def prune(store: StateStore, *, now: datetime, runs_kept: timedelta = RUNS_KEPT) -> Pruned:
    """Delete ended keys, runs that ended long ago, and old rows that the warehouse refused.

    The record of every run is in the warehouse; a shipped outbox row is gone already.
    """
    old_runs = org_runs.c.status.in_(ENDED) & (org_runs.c.ended_at < now - runs_kept)
    refused = outbox.c.refusal.is_not(None) & (outbox.c.enqueued_at < now - REFUSED_ROWS_KEPT)
    idle = outbox_leases.c.owner.is_(None) & (outbox_leases.c.expires_at < now - runs_kept)
    with store.begin() as conn:
        ids = select(org_runs.c.run_id).where(old_runs)
        steps = conn.execute(delete(org_steps).where(org_steps.c.run_id.in_(ids))).rowcount
        return Pruned(
            idempotency_keys=conn.execute(
                delete(idempotency_keys).where(idempotency_keys.c.expires_at <= now)
            ).rowcount,
            runs=conn.execute(delete(org_runs).where(old_runs)).rowcount,
            steps=steps,
            refused_rows=conn.execute(delete(outbox).where(refused)).rowcount,
            leases=conn.execute(delete(outbox_leases).where(idle)).rowcount,
            notifications=conn.execute(
                delete(notifications).where(notifications.c.claimed_at < now - runs_kept)
            ).rowcount,
        )
