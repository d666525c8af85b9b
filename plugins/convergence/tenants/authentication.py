"""From the key that a caller shows to the org it opens, without a warehouse query per request."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime

from cachetools import TTLCache

from convergence.errors import NotAuthenticatedError
from convergence.security.keys import digest, same_digest, split_org_key
from convergence.warehouse.client import Warehouse
from convergence.warehouse.query import run_file

# A revoked key must be dead within 60 s in every process; a slow lookup takes some of it.
CACHE_SECONDS = 45.0
_NOBODY = "0" * 64


@dataclass(frozen=True)
class Principal:
    """Who a key says its caller is."""

    org_slug: str
    key_id: str
    scopes: frozenset[str]


@dataclass(frozen=True)
class _StoredKey:
    key_hash: str
    principal: Principal
    not_after: datetime | None


_UNKNOWN = _StoredKey(_NOBODY, Principal("", "", frozenset()), None)


class Authenticator:
    """Knows keys by their digest; found and unknown ones are remembered equally long.

    They are remembered apart, so that a flood of wrong keys can't push out the good ones.
    """

    def __init__(
        self,
        warehouse: Warehouse,
        *,
        cache_seconds: float = CACHE_SECONDS,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._warehouse = warehouse
        self._now = now
        self._lock = threading.Lock()
        self._found: TTLCache[str, _StoredKey] = TTLCache(10_000, cache_seconds)
        self._unknown: TTLCache[str, _StoredKey] = TTLCache(10_000, cache_seconds)
        self._asked: dict[str, Future[_StoredKey]] = {}

    def authenticate(self, raw: str) -> Principal:
        """The caller's org, key id and scopes.

        Raises:
            NotAuthenticatedError: malformed, unknown, expired or revoked; one wording for all.
            WarehouseUnavailableError: the key could not be looked up.
        """
        slug, fingerprint = split_org_key(raw), digest(raw)
        stored = self._stored(fingerprint)
        # Every condition is looked at for every key, so that none is told by its time.
        genuine = same_digest(stored.key_hash, fingerprint)
        own = same_digest(digest(stored.principal.org_slug), digest(slug))
        valid = stored.not_after is None or self._now() < stored.not_after
        if not (genuine & own & valid):
            raise NotAuthenticatedError("The API key is not valid")
        return stored.principal

    def forget(self, key_id: str) -> None:
        """Look a key up again at its next use, as after this process revoked it."""
        with self._lock:
            for fingerprint, stored in list(self._found.items()):
                if stored.principal.key_id == key_id:
                    self._found.pop(fingerprint, None)

    def _stored(self, fingerprint: str) -> _StoredKey:
        with self._lock:
            known = self._found.get(fingerprint) or self._unknown.get(fingerprint)
            if known is not None:
                return known
            asked = self._asked.get(fingerprint)
            answer = asked or self._asked.setdefault(fingerprint, Future())
        if asked is None:
            self._look_up(fingerprint, answer)
        return answer.result()

    def _look_up(self, fingerprint: str, answer: Future[_StoredKey]) -> None:
        """One query, however many requests wait for it; a failure is theirs too, not cached."""
        try:
            stored = self._fetch(fingerprint)
        except BaseException as error:  # noqa: BLE001  # raised again for all who wait
            with self._lock:
                del self._asked[fingerprint]
            answer.set_exception(error)
            return
        with self._lock:
            del self._asked[fingerprint]
            cache = self._unknown if stored is _UNKNOWN else self._found
            cache[fingerprint] = stored
        answer.set_result(stored)

    def _fetch(self, fingerprint: str) -> _StoredKey:
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
