"""Every request that was served, so that a test can inspect paths and keys."""

from __future__ import annotations

import re
import threading
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from urllib.parse import parse_qsl

from starlette.types import Scope

_KEPT = 20_000
_CREDENTIAL_HEADERS = ("authorization", "x-api-key", "x-goog-api-key", "api-key", "cookie")


@dataclass
class Served:
    """One request. The credential itself is not kept: its last four characters and digest are."""

    at: str
    method: str
    host: str
    path: str
    query: list[tuple[str, str]]
    credential_header: str | None
    credential_last_four: str | None
    credential_digest: str | None
    fault: str | None = None
    status: int = 0


class Traffic:
    """The last requests, oldest first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._served: deque[Served] = deque(maxlen=_KEPT)

    def begin(self, scope: Scope) -> Served:
        """Record a request before its response: one that hangs is seen too."""
        name, value = find_credential(scope)
        entry = Served(
            at=datetime.now(UTC).isoformat(),
            method=scope["method"],
            host=headers_of(scope).get("host", ""),
            path=scope["path"],
            query=parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True),
            credential_header=name,
            credential_last_four=value[-4:] if value else None,
            credential_digest=sha256(value.encode()).hexdigest() if value else None,
        )
        with self._lock:
            self._served.append(entry)
        return entry

    def matching(self, path: str) -> list[dict[str, object]]:
        """Return those whose path has a match of the pattern, as JSON."""
        matches = re.compile(path).search
        with self._lock:
            return [vars(entry).copy() for entry in self._served if matches(entry.path)]

    def clear(self) -> None:
        """Forget them."""
        with self._lock:
            self._served.clear()


def headers_of(scope: Scope) -> dict[str, str]:
    """Return the request's headers, by lowercase name."""
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}


def find_credential(scope: Scope) -> tuple[str | None, str]:
    """Return the header that carries a credential and what it carries, without `Bearer`."""
    headers = headers_of(scope)
    for name in _CREDENTIAL_HEADERS:
        if name in headers:
            return name, headers[name].removeprefix("Bearer ")
    return None, ""
