"""Leases: one process at a time does a named piece of work; a dead process blocks no other."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, delete, update

from convergence.errors import RequestInFlightError
from convergence.state.schema.tables import insert_if_absent, leases
from convergence.state.store import StateStore

LEASE_DURATION = timedelta(minutes=2)


@contextmanager
def hold_lease(store: StateStore, name: str, *, ttl: timedelta = LEASE_DURATION) -> Iterator[None]:
    """Hold a lease while the block runs.

    Args:
        store: where leases are stored.
        name: of the work, such as `api_keys|acme_corp`.
        ttl: after this time another process may take the lease.

    Raises:
        RequestInFlightError: another process holds the lease.
    """
    owner = uuid.uuid4().hex
    with store.begin() as conn:
        taken = _take_lease(conn, name, owner, now=datetime.now(UTC), ttl=ttl)
    if not taken:
        raise RequestInFlightError("Another change of the same object is in progress; try again.")
    try:
        yield
    finally:
        with store.begin() as conn:
            mine = (leases.c.name == name) & (leases.c.owner == owner)
            conn.execute(delete(leases).where(mine))


def _take_lease(conn: Connection, name: str, owner: str, *, now: datetime, ttl: timedelta) -> bool:
    values = {"owner": owner, "expires_at": now + ttl}
    if insert_if_absent(conn, leases, {"name": name, **values}):
        return True
    over = (leases.c.name == name) & (leases.c.expires_at <= now)
    return conn.execute(update(leases).where(over).values(**values)).rowcount == 1
