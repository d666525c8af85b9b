"""Authenticate org keys, without a warehouse query per request."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime

from cachetools import TTLCache

from convergence.errors import NotAuthenticatedError
from convergence.security.keys import compare_digests, compute_digest, split_org_key
from convergence.state.cache_versions import CacheVersions
from convergence.tenants.api_keys.key_digests import KeyDigests
from convergence.warehouse.client import Warehouse
from convergence.warehouse.query import run_file

# A revoked key must be dead within 60 s in every process; a slow lookup takes some of it.
CACHE_SECONDS = 45.0
_NO_DIGEST = "0" * 64


@dataclass(frozen=True)
class Principal:
    """The caller that a key identifies."""

    org_slug: str
    key_id: str
    scopes: frozenset[str]


@dataclass(frozen=True)
class _StoredKey:
    key_hash: str
    principal: Principal
    not_after: datetime | None


@dataclass(frozen=True)
class _Remembered:
    """A key that was looked up, and the org's cache version before the look-up."""

    stored: _StoredKey
    version: int


_UNKNOWN = _StoredKey(_NO_DIGEST, Principal("", "", frozenset()), None)


class Authenticator:
    """Finds keys by their digest; valid and unknown ones are cached equally long.

    The two caches are separate, so that a flood of wrong keys can't evict the valid ones.

    Args:
        warehouse: where keys are stored.
        digests: the state store's copy of them; without it each lookup is a query.
        cache_versions: show within seconds that an org's keys have changed; without them a
            remembered key stays until it expires.
        cache_seconds: how long what was found is believed.
        now: the clock.
    """

    def __init__(
        self,
        warehouse: Warehouse,
        *,
        digests: KeyDigests | None = None,
        cache_versions: CacheVersions | None = None,
        cache_seconds: float = CACHE_SECONDS,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._warehouse = warehouse
        self._digests = digests
        self._cache_versions = cache_versions
        self._now = now
        self._lock = threading.Lock()
        self._found: TTLCache[str, _Remembered] = TTLCache(10_000, cache_seconds)
        self._unknown: TTLCache[str, _Remembered] = TTLCache(10_000, cache_seconds)
        self._pending: dict[str, Future[_StoredKey]] = {}
        self._used: dict[str, datetime] = {}

    def authenticate(self, raw: str) -> Principal:
        """Return the caller's org, key id and scopes.

        Raises:
            NotAuthenticatedError: malformed, unknown, expired or revoked; one message for all.
            WarehouseUnavailableError: the key could not be looked up.
        """
        slug, fingerprint = split_org_key(raw), compute_digest(raw)
        return self._checked(self._stored(fingerprint, slug), fingerprint, slug)

    def find_remembered(self, raw: str) -> Principal | None:
        """Return the principal of a cached valid key without a query; None for any other key."""
        try:
            slug, fingerprint = split_org_key(raw), compute_digest(raw)
            with self._lock:
                known = self._found.get(fingerprint)
            version = self._cache_versions.get_known_version(slug) if self._cache_versions else 0
            if known is None or known.version != version:
                return None
            return self._checked(known.stored, fingerprint, slug)
        except NotAuthenticatedError:
            return None

    def _checked(self, stored: _StoredKey, fingerprint: str, slug: str) -> Principal:
        # Check every condition for every key: the response time then shows nothing about a key.
        genuine = compare_digests(stored.key_hash, fingerprint)
        same_org = compare_digests(compute_digest(stored.principal.org_slug), compute_digest(slug))
        valid = stored.not_after is None or self._now() < stored.not_after
        if not (genuine & same_org & valid):
            raise NotAuthenticatedError("The API key is not valid")
        self._used[stored.principal.key_id] = self._now()
        return stored.principal

    def take_used_keys(self) -> dict[str, datetime]:
        """Return the keys used since the last call, each with its last use, and forget them."""
        taken, self._used = self._used, {}
        return taken

    def forget_key(self, key_id: str) -> None:
        """Look a key up again at its next use, as after this process revoked it."""
        with self._lock:
            for fingerprint, known in list(self._found.items()):
                if known.stored.principal.key_id == key_id:
                    self._found.pop(fingerprint, None)

    def _stored(self, fingerprint: str, slug: str) -> _StoredKey:
        with self._lock:
            known = self._found.get(fingerprint) or self._unknown.get(fingerprint)
        # Read before the key is: what a later change leaves behind is then looked up once more.
        version = self._cache_versions.get_version(slug) if self._cache_versions else 0
        if known is not None and known.version == version:
            return known.stored
        with self._lock:
            pending = self._pending.get(fingerprint)
            future = pending or self._pending.setdefault(fingerprint, Future())
        if pending is None:
            self._look_up(fingerprint, future, version=version)
        return future.result()

    def _look_up(self, fingerprint: str, future: Future[_StoredKey], *, version: int) -> None:
        """Look the key up with one query for all waiting requests; a failure is not cached."""
        try:
            stored = self._fetch(fingerprint)
        except BaseException as error:  # noqa: BLE001  # raised again for all who wait
            with self._lock:
                del self._pending[fingerprint]
            future.set_exception(error)
            return
        with self._lock:
            del self._pending[fingerprint]
            for cache in (self._found, self._unknown):
                cache.pop(fingerprint, None)
            cache = self._unknown if stored is _UNKNOWN else self._found
            cache[fingerprint] = _Remembered(stored, version)
        future.set_result(stored)

    def _fetch(self, fingerprint: str) -> _StoredKey:
        if self._digests is not None:
            key = self._digests.find_key(fingerprint)
            if key is None:
                return _UNKNOWN
            known = Principal(key.org_slug, key.key_id, frozenset(key.scopes))
            return _StoredKey(key.key_hash, known, key.not_after)
        rows = run_file(
            self._warehouse,
            self._warehouse.sql("tenants/key_find.sql"),
            params={"key_hash": fingerprint},
        )
        if len(rows) != 1:
            return _UNKNOWN
        row = rows[0]
        principal = Principal(row["org_slug"], row["key_id"], frozenset(row["scopes"]))
        return _StoredKey(row["key_hash"], principal, row["not_after"])
