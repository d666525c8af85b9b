"""Fences: a number per slice that only rises, one for each attempt at publishing it."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import Connection, case, select

from convergence.state.tables import slice_attempts, upsert


def next_attempt(conn: Connection, slice_id: str, *, at_least: int = 0) -> int:
    """Take the slice's next number, one above every number given before.

    Args:
        conn: a write transaction.
        slice_id: the slice's identity.
        at_least: the newest attempt that the ledger knows; a store that was lost goes on from it.
    """
    current = slice_attempts.c.attempt
    floor = case((current < at_least, at_least), else_=current)
    now = datetime.now(UTC)
    statement = (
        upsert(conn, slice_attempts)
        .values(slice_id=slice_id, attempt=at_least + 1, taken_at=now)
        .on_conflict_do_update(
            index_elements=["slice_id"], set_={"attempt": floor + 1, "taken_at": now}
        )
        .returning(slice_attempts.c.attempt)
    )
    return int(conn.execute(statement).scalar_one())


def newest_attempt(conn: Connection, slice_id: str) -> int:
    """The slice's newest number; 0 when none was given."""
    query = select(slice_attempts.c.attempt).where(slice_attempts.c.slice_id == slice_id)
    return int(conn.execute(query).scalar_one_or_none() or 0)
