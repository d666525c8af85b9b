"""Attempts: a number per slice that only rises, one for each attempt at publishing it.

The number is a fencing token: an attempt does not publish once a higher number exists. The process
that takes a number renews a heartbeat while it works on the slice, so that another attempt can
distinguish a working process from one that was killed or frozen.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import Connection, case, select, update

from convergence.state.schema.tables import build_upsert, slice_attempts

HEARTBEAT_EVERY: Final = timedelta(seconds=10)
"""Interval at which a working process renews its heartbeat."""
HEARTBEAT_STALE: Final = timedelta(seconds=60)
"""A heartbeat older than this belongs to a process that was killed or is frozen."""


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that takes attempts: its id, and the org run that it works for."""

    holder_id: str
    run_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NewestAttempt:
    """The newest attempt at a slice.

    Attributes:
        number: its number.
        taken_at: when it was taken, UTC.
        run_id: the org run that took it; None where it has no heartbeat.
        heartbeat_at: when its process last renewed its heartbeat; None once it stopped working.
    """

    number: int
    taken_at: datetime | None
    run_id: str | None
    heartbeat_at: datetime | None

    def is_alive(self, now: datetime) -> bool:
        """Return whether the attempt's process still works on the slice."""
        return self.heartbeat_at is not None and now - self.heartbeat_at < HEARTBEAT_STALE


def next_attempt(
    conn: Connection, slice_id: str, *, at_least: int = 0, holder: Holder | None = None
) -> int:
    """Take the slice's next number, one above every earlier number.

    Args:
        conn: a write transaction.
        slice_id: the slice's identity.
        at_least: the ledger's newest attempt; after a loss of the store, numbers continue from it.
        holder: takes the number and renews its heartbeat; None for an attempt without heartbeat.
    """
    current = slice_attempts.c.attempt
    floor = case((current < at_least, at_least), else_=current)
    now = datetime.now(UTC)
    taken = {
        "taken_at": now,
        "holder": holder.holder_id if holder else None,
        "run_id": holder.run_id if holder else None,
        "heartbeat_at": now if holder else None,
    }
    statement = (
        build_upsert(conn, slice_attempts)
        .values(slice_id=slice_id, attempt=at_least + 1, **taken)
        .on_conflict_do_update(index_elements=["slice_id"], set_={"attempt": floor + 1, **taken})
        .returning(slice_attempts.c.attempt)
    )
    return int(conn.execute(statement).scalar_one())


def newest_attempt(conn: Connection, slice_id: str) -> int:
    """Return the slice's newest number; 0 before the first attempt."""
    query = select(slice_attempts.c.attempt).where(slice_attempts.c.slice_id == slice_id)
    return int(conn.execute(query).scalar_one_or_none() or 0)


def newest_attempts(conn: Connection, slice_ids: Collection[str]) -> dict[str, NewestAttempt]:
    """Return the newest attempt at each slice that has one."""
    query = select(slice_attempts).where(slice_attempts.c.slice_id.in_(slice_ids))
    return {
        row.slice_id: NewestAttempt(
            number=row.attempt,
            taken_at=row.taken_at,
            run_id=row.run_id,
            heartbeat_at=row.heartbeat_at,
        )
        for row in conn.execute(query)
    }


def renew_heartbeat(conn: Connection, holder_id: str) -> None:
    """Renew the heartbeat of every attempt that is still its slice's newest."""
    _set_heartbeat(conn, holder_id, datetime.now(UTC))


def release_heartbeat(conn: Connection, holder_id: str) -> None:
    """Record that the holder no longer works on its slices."""
    _set_heartbeat(conn, holder_id, None)


def _set_heartbeat(conn: Connection, holder_id: str, value: datetime | None) -> None:
    mine = slice_attempts.c.holder == holder_id
    conn.execute(update(slice_attempts).where(mine).values(heartbeat_at=value))
