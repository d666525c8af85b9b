"""The head of each org's audit chain; one transaction at a time locks it to append an entry."""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, select, update

from convergence.state.schema.tables import audit_heads, insert_if_absent, state_meta

AUDIT_LOG = "org_audit_logs"
_JOINED = "audit_log_joined"
_MINE = audit_heads.c.org_slug == bindparam("org")
_HEAD = select(audit_heads.c.sequence, audit_heads.c.entry_hash).where(_MINE).with_for_update()
_PUT = (
    update(audit_heads)
    .where(_MINE)
    .values(sequence=bindparam("place"), entry_hash=bindparam("hash"))
)


def lock_head(conn: Connection, org_slug: str, *, genesis: str) -> tuple[int, str]:
    """Lock the org's head until the transaction ends; return (sequence, hash) of its newest entry.

    Before the first entry they are 0 and `genesis`.
    """
    mine = {"org": org_slug}
    row = conn.execute(_HEAD, mine).one_or_none()
    if row is None:
        # Two transactions may write an org's first entry: the second one waits here.
        insert_if_absent(
            conn, audit_heads, {"org_slug": org_slug, "sequence": 0, "entry_hash": genesis}
        )
        row = conn.execute(_HEAD, mine).one()
    return row.sequence, row.entry_hash


def move_head(conn: Connection, org_slug: str, *, sequence: int, entry_hash: str) -> None:
    """Set the newest entry, in the transaction that locked the head."""
    conn.execute(_PUT, {"org": org_slug, "place": sequence, "hash": entry_hash})


def read_heads(conn: Connection) -> dict[str, tuple[int, str]]:
    """Return (sequence, hash) of each org's newest entry, by org."""
    rows = conn.execute(select(audit_heads).order_by(audit_heads.c.org_slug))
    return {row.org_slug: (row.sequence, row.entry_hash) for row in rows}


def is_joined(conn: Connection) -> bool:
    """Return whether this store was joined to the chains of the shipped log."""
    query = select(state_meta.c.value).where(state_meta.c.name == _JOINED)
    return conn.execute(query).one_or_none() is not None


def mark_joined(conn: Connection) -> bool:
    """Record that the store was joined, in the same transaction; False when it was before."""
    return insert_if_absent(conn, state_meta, {"name": _JOINED, "value": "yes"})
