"""Refusals in the audit log: the first of its kind at once, its repetitions as a number.

Who has no good key writes nothing: such refusals are counted and told once a minute, so that a
flood of them costs one row. A good key that is refused again and again costs one row a minute
for each route and reason.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from convergence.api.http.context import CallerKind, context_of
from convergence.errors import (
    ConflictError,
    ConvergenceError,
    CredentialRejectedError,
    ForbiddenError,
    LimitError,
    NotAuthenticatedError,
    NotFoundError,
    RequestInFlightError,
)
from convergence.security.redaction import redact
from convergence.state.store import StateStore
from convergence.tenants.audit import PLATFORM, Actor, AuditedAction, AuditResult, append_entry

log = logging.getLogger(__name__)

_REFUSALS = (ForbiddenError, LimitError, ConflictError, CredentialRejectedError)
_MOST_KINDS = 5_000
_TARGET_CHARS = 200
ANONYMOUS = "anonymous"


@dataclass(frozen=True)
class _Kind:
    """What makes two refusals the same."""

    org_slug: str
    actor_type: str
    actor: str
    action: str
    code: str


class Refusals:
    """One process' refusals since they were last told."""

    def __init__(self, store: StateStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._again: Counter[_Kind] = Counter()
        self._told: set[_Kind] = set()

    async def note(self, request: Request, error: ConvergenceError, *, route: str) -> None:
        """Take down a refusal; one that can't be written is logged, and stays refused."""
        caller = context_of(request.scope).caller
        named = request.path_params.get("org")
        foreign = isinstance(error, NotFoundError) and named not in {None, caller.org_slug}
        anonymous = caller.kind is CallerKind.ANONYMOUS
        refused = isinstance(error, _REFUSALS) and not isinstance(error, RequestInFlightError)
        if not (refused or isinstance(error, NotAuthenticatedError) or foreign):
            return
        if anonymous or (caller.kind is CallerKind.ROOT and foreign):
            if anonymous:
                self._count(_Kind(PLATFORM, "system", ANONYMOUS, "authentication", error.code))
            return
        kind = _Kind(
            caller.org_slug or PLATFORM,
            "root" if caller.kind is CallerKind.ROOT else "org_key",
            caller.key_id,
            f"{request.method} {route}",
            error.code,
        )
        if self._count_known(kind):
            return
        await run_in_threadpool(self._write, kind, request)

    def flush(self) -> None:
        """Write how often each refusal came again, and begin anew."""
        with self._lock:
            again, self._again, self._told = self._again, Counter(), set()
        with self._store.begin() as conn:
            for kind, times in again.items():
                by = Actor(kind.actor_type, kind.actor)  # type: ignore[arg-type]  # one of its literals
                act = AuditedAction(kind.org_slug, by, kind.action, "")
                details = {"code": kind.code, "times": times}
                append_entry(
                    conn, act, result=AuditResult.REFUSED, now=datetime.now(UTC), details=details
                )

    def _count(self, kind: _Kind) -> None:
        with self._lock:
            self._again[kind] += 1

    def _count_known(self, kind: _Kind) -> bool:
        """Count a refusal told in this minute; what is more than a process can keep is counted."""
        with self._lock:
            if kind in self._told or len(self._told) >= _MOST_KINDS:
                self._again[kind] += 1
                return True
            self._told.add(kind)
            return False

    def _write(self, kind: _Kind, request: Request) -> None:
        context = context_of(request.scope)
        by = Actor(
            kind.actor_type,  # type: ignore[arg-type]  # one of its literals
            kind.actor,
            request_id=context.request_id,
            address=context_of(request.scope).address,
        )
        act = AuditedAction(
            kind.org_slug, by, kind.action, redact(request.url.path[:_TARGET_CHARS])
        )
        try:
            with self._store.begin() as conn:
                now, details = datetime.now(UTC), {"code": kind.code}
                append_entry(conn, act, result=AuditResult.REFUSED, now=now, details=details)
        except ConvergenceError as error:
            log.warning("a refusal could not be audited: %s", error)
