"""Who was told of what: one claim per run, org, channel and event, so that nobody is told twice.

A claim is taken before a message is sent and ends as SENT or FAILED. A failed one may be taken
again; so may one whose owner was never heard of again, since losing word of a failed run is worse
than hearing of it twice. A sent one never is.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Row, and_, or_, select, update

from convergence.state.tables import insert_if_absent, notifications

CLAIM_DURATION = timedelta(minutes=10)
"""After which a claim whose owner says nothing may be taken by another."""


class NotificationStatus(StrEnum):
    """What became of a message."""

    CLAIMED = "CLAIMED"
    SENT = "SENT"
    FAILED = "FAILED"


class NotificationKey(NamedTuple):
    """What a message is about; one is sent for each key.

    Attributes:
        run_id: the org run, or what stands for a whole Airflow run.
        org_slug: the org; `~platform` for a run's digest.
        channel: such as `email`.
        event: how the run ended, or the step that tells.
    """

    run_id: str
    org_slug: str
    channel: str
    event: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    """A claim as it stands; `error` says why nothing was sent, without secrets."""

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
    most_attempts: int,
    held_for: timedelta = CLAIM_DURATION,
) -> str | None:
    """Take the right to send one message.

    Returns:
        The owner's token, for `end`; None when the message was sent, is being sent, or has failed
        as often as is tried.
    """
    owner = uuid.uuid4().hex
    values = {
        "status": NotificationStatus.CLAIMED,
        "owner": owner,
        "claimed_at": now,
        "expires_at": now + held_for,
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
    again = _match_key(key) & free & (notifications.c.attempts < most_attempts)
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
    """Record what became of the message; False when the claim is another's by now."""
    status = NotificationStatus.FAILED if error is not None else NotificationStatus.SENT
    ended = conn.execute(
        update(notifications)
        .where(_match_key(key) & (notifications.c.owner == owner))
        .values(status=status, ended_at=now, recipients=recipients, error=error)
    )
    return ended.rowcount == 1


def get_notification(conn: Connection, key: NotificationKey) -> Notification | None:
    """The claim, if there is one."""
    row = conn.execute(select(notifications).where(_match_key(key))).one_or_none()
    return _build_notification(row) if row else None


def list_for_run(conn: Connection, run_id: str, org_slug: str) -> list[Notification]:
    """What one org was told of one run, or what could not be told, oldest first."""
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
