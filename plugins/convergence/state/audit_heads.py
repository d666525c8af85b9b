"""The head of each org's audit chain: taken for one appending transaction at a time."""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, select, update

from convergence.state.tables import audit_heads, insert_if_absent, state_meta

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
    """(place, hash) of the org's newest entry; held until the transaction ends.

    `genesis` stands for the hash where there is no entry yet, at place 0.
    """
    mine = {"org": org_slug}
    row = conn.execute(_HEAD, mine).one_or_none()
    if row is None:
        # Of two that write an org's first entry, the second waits here for the first.
        insert_if_absent(
            conn, audit_heads, {"org_slug": org_slug, "sequence": 0, "entry_hash": genesis}
        )
        row = conn.execute(_HEAD, mine).one()
    return row.sequence, row.entry_hash


def move_head(conn: Connection, org_slug: str, *, sequence: int, entry_hash: str) -> None:
    """Make an entry the newest, in the transaction that took the head."""
    conn.execute(_PUT, {"org": org_slug, "place": sequence, "hash": entry_hash})


def read_heads(conn: Connection) -> dict[str, tuple[int, str]]:
    """(place, hash) of each org's newest entry, by org."""
    rows = conn.execute(select(audit_heads).order_by(audit_heads.c.org_slug))
    return {row.org_slug: (row.sequence, row.entry_hash) for row in rows}


def is_joined(conn: Connection) -> bool:
    """Whether this store has been told where the chains of the shipped log end."""
    query = select(state_meta.c.value).where(state_meta.c.name == _JOINED)
    return conn.execute(query).one_or_none() is not None


def mark_joined(conn: Connection) -> bool:
    """Note that it has, in the transaction that tells it; False when it had been told before."""
    return insert_if_absent(conn, state_meta, {"name": _JOINED, "value": "yes"})
