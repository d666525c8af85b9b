"""Idempotency keys: the same request twice has one effect and one answer.

Reference: the behaviour of Stripe's `Idempotency-Key`, https://docs.stripe.com/api/idempotent_requests.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, and_, bindparam, delete, select, update

from convergence.state.tables import added, idempotency_keys

KEPT = timedelta(hours=24)
# A claimant that has not answered by then has died; what it began is safe to begin again.
ANSWER_WITHIN = timedelta(minutes=10)

_HELD = and_(
    idempotency_keys.c.org_slug == bindparam("org"),
    idempotency_keys.c.key == bindparam("this"),
    idempotency_keys.c.token == bindparam("by"),
    idempotency_keys.c.status.is_(None),
)
_COMPLETE = (
    update(idempotency_keys).where(_HELD).values(status=bindparam("answer"), body=bindparam("told"))
)
_RELEASE = delete(idempotency_keys).where(_HELD)


@dataclass(frozen=True)
class Claimed:
    """The caller is the first with this key and must complete or release it."""

    org_slug: str
    key: str
    token: str


@dataclass(frozen=True)
class Replay:
    """The request was answered before, like this."""

    status: int
    body: Mapping[str, Any]


@dataclass(frozen=True)
class Mismatch:
    """The key was used for another request."""


@dataclass(frozen=True)
class InFlight:
    """The first request with this key has not been answered yet."""


def claim(
    conn: Connection,
    org_slug: str,
    key: str,
    *,
    request_hash: str,
    now: datetime,
    ttl: timedelta = KEPT,
) -> Claimed | Replay | Mismatch | InFlight:
    """Take the key for this request, or learn what became of the request that has it."""
    token = secrets.token_hex(16)
    values = {
        "request_hash": request_hash,
        "token": token,
        "claimed_at": now,
        "expires_at": now + ttl,
        "status": None,
        "body": None,
    }
    if added(conn, idempotency_keys, {"org_slug": org_slug, "key": key, **values}):
        return Claimed(org_slug, key, token)
    mine = (idempotency_keys.c.org_slug == org_slug) & (idempotency_keys.c.key == key)
    row = conn.execute(select(idempotency_keys).where(mine).with_for_update()).one_or_none()
    if row is None:
        # Released between the two statements: it was in flight when we asked.
        return InFlight()
    answered = row.status is not None
    abandoned = not answered and row.claimed_at <= now - ANSWER_WITHIN
    if row.expires_at <= now or (abandoned and row.request_hash == request_hash):
        conn.execute(update(idempotency_keys).where(mine).values(**values))
        return Claimed(org_slug, key, token)
    if row.request_hash != request_hash:
        return Mismatch()
    return Replay(row.status, row.body) if answered else InFlight()


def complete(conn: Connection, claimed: Claimed, *, status: int, body: Mapping[str, Any]) -> bool:
    """Store the answer to replay, which holds no secret; False when the claim was overtaken."""
    values = {**_held(claimed), "answer": status, "told": dict(body)}
    return conn.execute(_COMPLETE, values).rowcount == 1


def release(conn: Connection, claimed: Claimed) -> bool:
    """Give the key back, as when the request failed validation and had no effect."""
    return conn.execute(_RELEASE, _held(claimed)).rowcount == 1


def _held(claimed: Claimed) -> dict[str, Any]:
    return {"org": claimed.org_slug, "this": claimed.key, "by": claimed.token}
