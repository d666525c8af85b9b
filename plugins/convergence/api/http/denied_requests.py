"""Denied requests in the audit log: the first of a kind at once, its repetitions as a number.

A request without a valid key writes nothing at once: such requests are counted and recorded once a
minute, so that a flood of them costs one row. A valid key that is denied repeatedly costs one row a
minute for each route and reason.
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

_DENIALS = (ForbiddenError, LimitError, ConflictError, CredentialRejectedError)
_MAX_KINDS = 5_000
_MAX_TARGET_CHARS = 200
ANONYMOUS = "anonymous"


@dataclass(frozen=True)
class _DenialKind:
    """The fields by which two denied requests are of one kind."""

    org_slug: str
    actor_type: str
    actor: str
    action: str
    code: str


class DeniedRequests:
    """The denied requests of one process since the last flush."""

    def __init__(self, store: StateStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._repetitions: Counter[_DenialKind] = Counter()
        self._recorded: set[_DenialKind] = set()

    async def record(self, request: Request, error: ConvergenceError, *, route: str) -> None:
        """Record a denied request; where the audit log can't be written, log a warning."""
        caller = context_of(request.scope).caller
        path_org = request.path_params.get("org")
        foreign = isinstance(error, NotFoundError) and path_org not in {None, caller.org_slug}
        anonymous = caller.kind is CallerKind.ANONYMOUS
        denied = isinstance(error, _DENIALS) and not isinstance(error, RequestInFlightError)
        if not (denied or isinstance(error, NotAuthenticatedError) or foreign):
            return
        if anonymous or (caller.kind is CallerKind.ROOT and foreign):
            if anonymous:
                self._count_repetition(
                    _DenialKind(PLATFORM, "system", ANONYMOUS, "authentication", error.code)
                )
            return
        kind = _DenialKind(
            caller.org_slug or PLATFORM,
            "root" if caller.kind is CallerKind.ROOT else "org_key",
            caller.key_id,
            f"{request.method} {route}",
            error.code,
        )
        if self._count_recorded(kind):
            return
        await run_in_threadpool(self._write_row, kind, request)

    def flush(self) -> None:
        """Write how often each kind was repeated, and reset the counts."""
        with self._lock:
            repetitions, self._repetitions, self._recorded = self._repetitions, Counter(), set()
        with self._store.begin() as conn:
            for kind, times in repetitions.items():
                by = Actor(kind.actor_type, kind.actor)  # type: ignore[arg-type]  # one of its literals
                act = AuditedAction(kind.org_slug, by, kind.action, "")
                details = {"code": kind.code, "times": times}
                append_entry(
                    conn, act, result=AuditResult.REFUSED, now=datetime.now(UTC), details=details
                )

    def _count_repetition(self, kind: _DenialKind) -> None:
        with self._lock:
            self._repetitions[kind] += 1

    def _count_recorded(self, kind: _DenialKind) -> bool:
        """Count a kind that is recorded already, or that exceeds the maximum number of kinds."""
        with self._lock:
            if kind in self._recorded or len(self._recorded) >= _MAX_KINDS:
                self._repetitions[kind] += 1
                return True
            self._recorded.add(kind)
            return False

    def _write_row(self, kind: _DenialKind, request: Request) -> None:
        context = context_of(request.scope)
        by = Actor(
            kind.actor_type,  # type: ignore[arg-type]  # one of its literals
            kind.actor,
            request_id=context.request_id,
            address=context_of(request.scope).address,
        )
        act = AuditedAction(
            kind.org_slug, by, kind.action, redact(request.url.path[:_MAX_TARGET_CHARS])
        )
        try:
            with self._store.begin() as conn:
                now, details = datetime.now(UTC), {"code": kind.code}
                append_entry(conn, act, result=AuditResult.REFUSED, now=now, details=details)
        except ConvergenceError as error:
            log.warning("a denied request could not be audited: %s", error)
