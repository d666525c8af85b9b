"""Claims on messages: one per run, org, channel and event, so that no message is sent twice.

A claim is taken before a message is sent and ends as SENT or FAILED. A failed claim may be taken
again, and so may one whose process died: a lost message about a failed run is worse than a second
one. A claim that is SENT is never taken again.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Row, and_, or_, select, update

from convergence.state.schema.tables import insert_if_absent, notifications

CLAIM_DURATION = timedelta(minutes=10)
"""After this time another process may take a claim that has not ended."""


class NotificationStatus(StrEnum):
    """The status of a message."""

    CLAIMED = "CLAIMED"
    SENT = "SENT"
    FAILED = "FAILED"


class NotificationKey(NamedTuple):
    """The subject of a message; one message is sent for each key.

    Attributes:
        run_id: the org run, or an id for a whole Airflow run.
        org_slug: the org; `~platform` for a run's digest.
        channel: such as `email`.
        event: how the run ended, or the step that sends the message.
    """

    run_id: str
    org_slug: str
    channel: str
    event: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    """A stored claim; `error` says why nothing was sent, without secrets."""

    key: NotificationKey
    status: NotificationStatus
    attempts: int
    recipients: int
    claimed_at: datetime
    ended_at: datetime | None
    error: str | None


def claim_notification(
    conn: Connection,
    key: NotificationKey,
    *,
    now: datetime,
    max_attempts: int,
    claim_duration: timedelta = CLAIM_DURATION,
) -> str | None:
    """Take the right to send one message.

    Returns:
        The owner's token, for `finish_notification`; None when the message was sent, is being
        sent, or failed `max_attempts` times.
    """
    owner = uuid.uuid4().hex
    values = {
        "status": NotificationStatus.CLAIMED,
        "owner": owner,
        "claimed_at": now,
        "expires_at": now + claim_duration,
        "ended_at": None,
    }
    new = {**key._asdict(), **values, "attempts": 1, "recipients": 0}
    if insert_if_absent(conn, notifications, new):
        return owner
    free = or_(
        notifications.c.status == NotificationStatus.FAILED,
        and_(
            notifications.c.status == NotificationStatus.CLAIMED,
            notifications.c.expires_at <= now,
        ),
    )
    again = _match_key(key) & free & (notifications.c.attempts < max_attempts)
    taken = conn.execute(
        update(notifications).where(again).values(**values, attempts=notifications.c.attempts + 1)
    )
    return owner if taken.rowcount == 1 else None


def finish_notification(
    conn: Connection,
    key: NotificationKey,
    *,
    owner: str,
    now: datetime,
    recipients: int = 0,
    error: str | None = None,
) -> bool:
    """Record how the message ended; return False when another process has taken the claim."""
    status = NotificationStatus.FAILED if error is not None else NotificationStatus.SENT
    ended = conn.execute(
        update(notifications)
        .where(_match_key(key) & (notifications.c.owner == owner))
        .values(status=status, ended_at=now, recipients=recipients, error=error)
    )
    return ended.rowcount == 1


def get_notification(conn: Connection, key: NotificationKey) -> Notification | None:
    """Return the claim, or None."""
    row = conn.execute(select(notifications).where(_match_key(key))).one_or_none()
    return _build_notification(row) if row else None


def list_for_run(conn: Connection, run_id: str, org_slug: str) -> list[Notification]:
    """Return the messages to one org about one run, sent or failed, oldest first."""
    query = select(notifications).where(
        notifications.c.run_id == run_id, notifications.c.org_slug == org_slug
    )
    order = (notifications.c.claimed_at, notifications.c.channel, notifications.c.event)
    return [_build_notification(row) for row in conn.execute(query.order_by(*order))]


def _match_key(key: NotificationKey) -> ColumnElement[bool]:
    return and_(*(notifications.c[name] == value for name, value in key._asdict().items()))


def _build_notification(row: Row[Any]) -> Notification:
    return Notification(
        key=NotificationKey(row.run_id, row.org_slug, row.channel, row.event),
        status=NotificationStatus(row.status),
        attempts=row.attempts,
        recipients=row.recipients,
        claimed_at=row.claimed_at,
        ended_at=row.ended_at,
        error=row.error,
    )
