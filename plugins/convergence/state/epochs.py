"""A number per org that rises whenever what lets it in, or keeps it out, has changed.

Whoever remembers a key or a standing remembers the number with it and asks the warehouse again
once the number is another: a revocation or suspension made in one process is felt in all within
seconds, and no request costs a warehouse query for it.
"""

from __future__ import annotations

import threading

from cachetools import TTLCache
from sqlalchemy import Connection, select

from convergence.state.store import StateStore
from convergence.state.tables import org_epochs, upsert

LOOK_AGAIN_SECONDS = 3.0


def bump(conn: Connection, org_slug: str) -> None:
    """Make every process ask again about the org; after the change, in any transaction."""
    statement = upsert(conn, org_epochs).values(org_slug=org_slug, epoch=1)
    raised = {"epoch": org_epochs.c.epoch + 1}
    conn.execute(statement.on_conflict_do_update(index_elements=["org_slug"], set_=raised))


def current(conn: Connection, org_slug: str) -> int:
    """The org's number now; 0 before the first change."""
    query = select(org_epochs.c.epoch).where(org_epochs.c.org_slug == org_slug)
    return conn.execute(query).scalar_one_or_none() or 0


class Epochs:
    """The numbers as this process knows them, a few seconds old at most; threads may share it."""

    def __init__(
        self, store: StateStore, *, look_again_seconds: float = LOOK_AGAIN_SECONDS
    ) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._known: TTLCache[str, int] = TTLCache(10_000, look_again_seconds)

    def of(self, org_slug: str) -> int:
        """The org's number.

        Raises:
            StateUnavailableError: it can't be read, so nothing remembered may be trusted.
        """
        if (known := self.known(org_slug)) is not None:
            return known
        with self._store.read() as conn:
            epoch = current(conn, org_slug)
        with self._lock:
            self._known[org_slug] = epoch
        return epoch

    def known(self, org_slug: str) -> int | None:
        """The org's number if this process knows it, without asking for it."""
        with self._lock:
            return self._known.get(org_slug)
