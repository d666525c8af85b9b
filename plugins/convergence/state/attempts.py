"""Fences: a number per slice that only rises, one for each attempt at publishing it.

The process that takes a number renews a heartbeat while it works on the slice. So another attempt
can distinguish a newer one that works from one whose process was killed or frozen.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import Connection, case, select, update

from convergence.state.tables import build_upsert, slice_attempts

HEARTBEAT_EVERY: Final = timedelta(seconds=10)
"""How often a working process renews its heartbeat."""
HEARTBEAT_STALE: Final = timedelta(seconds=60)
"""A heartbeat older than this belongs to a process that was killed or is frozen."""


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that takes attempts: its own id, and the org run it works for."""

    holder_id: str
    run_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NewestAttempt:
    """The newest attempt at a slice.

    Attributes:
        number: its fence.
        taken_at: when it was taken, UTC.
        run_id: the org run that took it; None where it has no heartbeat.
        heartbeat_at: when its process last said that it works; None once it no longer does.
    """

    number: int
    taken_at: datetime | None
    run_id: str | None
    heartbeat_at: datetime | None

    def is_alive(self, now: datetime) -> bool:
        """Whether its process still works on the slice."""
        return self.heartbeat_at is not None and now - self.heartbeat_at < HEARTBEAT_STALE


def next_attempt(
    conn: Connection, slice_id: str, *, at_least: int = 0, holder: Holder | None = None
) -> int:
    """Take the slice's next number, one above every number given before.

    Args:
        conn: a write transaction.
        slice_id: the slice's identity.
        at_least: the newest attempt that the ledger knows; a store that was lost goes on from it.
        holder: who takes it and renews its heartbeat; None for an attempt without heartbeat.
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
    """The slice's newest number; 0 when none was given."""
    query = select(slice_attempts.c.attempt).where(slice_attempts.c.slice_id == slice_id)
    return int(conn.execute(query).scalar_one_or_none() or 0)


def newest_attempts(conn: Connection, slice_ids: Collection[str]) -> dict[str, NewestAttempt]:
    """The newest attempt at each slice that has one."""
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
    """Say that the holder no longer works on its slices."""
    _set_heartbeat(conn, holder_id, None)


def _set_heartbeat(conn: Connection, holder_id: str, value: datetime | None) -> None:
    mine = slice_attempts.c.holder == holder_id
    conn.execute(update(slice_attempts).where(mine).values(heartbeat_at=value))
