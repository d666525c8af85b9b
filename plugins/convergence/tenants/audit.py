"""The audit log: each action on an org with its actor, committed with the change, append-only.

An attempt is logged before a change is made, and its result after it. A change that can't be logged
is not made, because the transaction of its attempt fails first. Each org's entries form a hash
chain, whose head is moved in the transaction of the entry.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Literal

from sqlalchemy import Connection

from convergence.errors import ConvergenceError
from convergence.state import audit_heads, cache_versions, outbox
from convergence.state.store import StateStore
from convergence.tenants.audit_chain import (
    GENESIS,
    encode_canonical_json,
    format_canonical_time,
    hash_entry,
)

AUDIT_LOG = audit_heads.AUDIT_LOG
# Rows about no org; no slug can hold the tilde.
PLATFORM = "~platform"


class AuditResult(StrEnum):
    """The result of an audited action."""

    ATTEMPTED = "ATTEMPTED"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    REFUSED = "REFUSED"


@dataclass(frozen=True)
class Actor:
    """The actor of an action, and the request that it came with.

    Attributes:
        kind: the root key, an org key, or Convergence itself.
        id: a key's id, never the key; for the system, the DAG run or tool that acts.
    """

    kind: Literal["root", "org_key", "system"]
    id: str
    request_id: str | None = None
    address: str | None = None


@dataclass(frozen=True)
class AuditedAction:
    """One change: `action` such as `api_key.issue`, `target` the id of what it is done to."""

    org_slug: str
    by: Actor
    action: str
    target: str


@dataclass
class AuditedChange:
    """A change whose attempt is logged and that is in progress.

    Attributes:
        details: logged with its success.
    """

    details: dict[str, Any] = field(default_factory=dict)
    _records: list[Callable[[Connection], object]] = field(default_factory=list)

    def add_write(self, write: Callable[[Connection], object]) -> None:
        """Run a write in the transaction that logs the change's success, and only then."""
        self._records.append(write)

    def log_success(self, conn: Connection, act: AuditedAction, *, attempt: str) -> None:
        """Log the success and run the added writes, in the caller's transaction."""
        for write in self._records:
            write(conn)
        details = {"attempt": attempt, **self.details}
        append_entry(
            conn, act, result=AuditResult.SUCCEEDED, now=datetime.now(UTC), details=details
        )
        cache_versions.increment_version(conn, act.org_slug)


def append_entry(
    conn: Connection,
    act: AuditedAction,
    *,
    result: AuditResult,
    now: datetime,
    details: Mapping[str, Any] | None = None,
) -> str:
    """Add an audit row in the caller's transaction and return its id.

    Args:
        conn: the transaction of the audited change.
        act: who does what to what.
        result: how far it came.
        now: the instant.
        details: JSON without secrets.
    """
    audit_id = f"aud_{uuid.uuid4().hex}"
    place, before = audit_heads.lock_head(conn, act.org_slug, genesis=GENESIS)
    row = {
        "org_slug": act.org_slug,
        "audit_id": audit_id,
        "occurred_at": format_canonical_time(now),
        "actor": act.by.id,
        "actor_type": act.by.kind,
        "action": act.action,
        "target": act.target or None,
        "result": str(result),
        "request_id": act.by.request_id,
        "address": act.by.address,
        "details": encode_canonical_json(details) if details else None,
        "sequence": place + 1,
        "previous_hash": before,
    }
    row["entry_hash"] = hash_entry(row)
    audit_heads.move_head(conn, act.org_slug, sequence=place + 1, entry_hash=str(row["entry_hash"]))
    outbox.enqueue_row(conn, AUDIT_LOG, row)
    return audit_id


@contextmanager
def audit_change(
    store: StateStore,
    act: AuditedAction,
    *,
    now: datetime,
    details: Mapping[str, Any] | None = None,
) -> Iterator[AuditedChange]:
    """Log the attempt of a change, run the block that makes it, and log the result.

    The org's cache version rises in any case, so that every process reads the org again.

    Raises:
        StateUnavailableError: the attempt can't be logged; the change was not begun.
    """
    with store.begin() as conn:
        attempt = append_entry(conn, act, result=AuditResult.ATTEMPTED, now=now, details=details)
    change = AuditedChange()
    try:
        yield change
    except BaseException as error:
        code = error.code if isinstance(error, ConvergenceError) else type(error).__name__
        failure = {"attempt": attempt, "error": code}
        with store.begin() as conn:
            append_entry(
                conn, act, result=AuditResult.FAILED, now=datetime.now(UTC), details=failure
            )
            cache_versions.increment_version(conn, act.org_slug)
        raise
    with store.begin() as conn:
        change.log_success(conn, act, attempt=attempt)
