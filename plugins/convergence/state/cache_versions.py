"""A version number per org that rises with each change of the org's access.

A process that caches an org's key or eligibility stores the version with it, and reads the
warehouse again once the version differs. So all processes notice a revoked key or a suspended
subscription within seconds, and no request costs a warehouse query to find out.
"""

from __future__ import annotations

import threading

from cachetools import TTLCache
from sqlalchemy import Connection, select

from convergence.state.schema.tables import build_upsert, cache_versions
from convergence.state.store import StateStore

MAX_AGE_SECONDS = 3.0


def increment_version(conn: Connection, org_slug: str) -> None:
    """Make every process read the org again; call it after the change, in any transaction."""
    statement = build_upsert(conn, cache_versions).values(org_slug=org_slug, version=1)
    raised = {"version": cache_versions.c.version + 1}
    conn.execute(statement.on_conflict_do_update(index_elements=["org_slug"], set_=raised))


def read_version(conn: Connection, org_slug: str) -> int:
    """Return the org's version; 0 before the first change."""
    query = select(cache_versions.c.version).where(cache_versions.c.org_slug == org_slug)
    return conn.execute(query).scalar_one_or_none() or 0


def read_versions(conn: Connection) -> dict[str, int]:
    """Return the version of each org that has one, by org."""
    return {row.org_slug: row.version for row in conn.execute(select(cache_versions))}


class CacheVersions:
    """The versions as this process knows them, `MAX_AGE_SECONDS` old at most; thread-safe."""

    def __init__(self, store: StateStore, *, max_age_seconds: float = MAX_AGE_SECONDS) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._known: TTLCache[str, int] = TTLCache(10_000, max_age_seconds)

    def get_version(self, org_slug: str) -> int:
        """Return the org's version.

        Raises:
            StateUnavailableError: the version can't be read, so no cached value may be used.
        """
        if (known := self.get_known_version(org_slug)) is not None:
            return known
        with self._store.read() as conn:
            version = read_version(conn, org_slug)
        with self._lock:
            self._known[org_slug] = version
        return version

    def get_known_version(self, org_slug: str) -> int | None:
        """Return the org's version if this process has read it lately, without any I/O."""
        with self._lock:
            return self._known.get(org_slug)
