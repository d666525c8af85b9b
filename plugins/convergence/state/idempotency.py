"""Idempotency keys: the same request twice has one effect and one response.

Reference: the behaviour of Stripe's `Idempotency-Key`, https://docs.stripe.com/api/idempotent_requests.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, and_, bindparam, delete, select, update

from convergence.state.schema.tables import idempotency_keys, insert_if_absent

KEY_LIFETIME = timedelta(hours=24)
# A claimant that has not completed its claim by then has died. Its work is safe to repeat.
MAX_RESPONSE_TIME = timedelta(minutes=10)

_ACTIVE_CLAIM = and_(
    idempotency_keys.c.org_slug == bindparam("org"),
    idempotency_keys.c.key == bindparam("this"),
    idempotency_keys.c.token == bindparam("by"),
    idempotency_keys.c.status.is_(None),
)
_COMPLETE = (
    update(idempotency_keys)
    .where(_ACTIVE_CLAIM)
    .values(status=bindparam("status_code"), body=bindparam("document"))
)
_RELEASE = delete(idempotency_keys).where(_ACTIVE_CLAIM)


@dataclass(frozen=True)
class KeyClaim:
    """A claim of the first caller with this key, who must complete or release it."""

    org_slug: str
    key: str
    token: str


@dataclass(frozen=True)
class StoredResponse:
    """The stored response of an earlier request with the key."""

    status: int
    body: Mapping[str, Any]


@dataclass(frozen=True)
class KeyMismatch:
    """The key was used before for another request."""


@dataclass(frozen=True)
class ClaimInFlight:
    """The first request with this key is still in progress."""


def claim_key(
    conn: Connection,
    org_slug: str,
    key: str,
    *,
    request_hash: str,
    now: datetime,
    ttl: timedelta = KEY_LIFETIME,
) -> KeyClaim | StoredResponse | KeyMismatch | ClaimInFlight:
    """Claim the key for this request, or return the state of the request that claimed it."""
    token = secrets.token_hex(16)
    values = {
        "request_hash": request_hash,
        "token": token,
        "claimed_at": now,
        "expires_at": now + ttl,
        "status": None,
        "body": None,
    }
    if insert_if_absent(conn, idempotency_keys, {"org_slug": org_slug, "key": key, **values}):
        return KeyClaim(org_slug, key, token)
    mine = (idempotency_keys.c.org_slug == org_slug) & (idempotency_keys.c.key == key)
    row = conn.execute(select(idempotency_keys).where(mine).with_for_update()).one_or_none()
    if row is None:
        # Released between the two statements: it was in flight at the first one.
        return ClaimInFlight()
    completed = row.status is not None
    abandoned = not completed and row.claimed_at <= now - MAX_RESPONSE_TIME
    if row.expires_at <= now or (abandoned and row.request_hash == request_hash):
        conn.execute(update(idempotency_keys).where(mine).values(**values))
        return KeyClaim(org_slug, key, token)
    if row.request_hash != request_hash:
        return KeyMismatch()
    return StoredResponse(row.status, row.body) if completed else ClaimInFlight()


def complete_claim(
    conn: Connection, claimed: KeyClaim, *, status: int, body: Mapping[str, Any]
) -> bool:
    """Store the response for replays, without secrets; False when another took the claim over."""
    values = {**_bind_claim(claimed), "status_code": status, "document": dict(body)}
    return conn.execute(_COMPLETE, values).rowcount == 1


def release_claim(conn: Connection, claimed: KeyClaim) -> bool:
    """Release the key, because the request failed and had no effect."""
    return conn.execute(_RELEASE, _bind_claim(claimed)).rowcount == 1


def _bind_claim(claimed: KeyClaim) -> dict[str, Any]:
    return {"org": claimed.org_slug, "this": claimed.key, "by": claimed.token}
