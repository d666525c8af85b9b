"""What the warehouse is told of the execution queue and of the due times of own schedules.

A row is committed with the change that it tells of; a waiting entry's has all that a lost store
needs to be given it back.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from convergence.state import outbox

if TYPE_CHECKING:
    from convergence.state.queue import Entry

QUEUE_LOG = "org_pipeline_execution_queue"
SCHEDULE_LOG = "org_scheduled_pipeline_runs"


def write(conn: Connection, entry: Entry, *, now: datetime) -> None:
    """Tell where an entry stands, and with it the due time that it came from, if it did."""
    row = {
        "org_slug": entry.org_slug,
        "queue_id": entry.queue_id,
        "run_id": entry.run_id,
        "pipeline_id": entry.pipeline_id,
        "status": str(entry.status),
        "priority": entry.priority,
        "params": outbox.json_text(entry.params),
        "requested_by": entry.requested_by,
        "reason": entry.reason,
        "enqueued_at": entry.enqueued_at,
        "claimed_at": entry.ended_at,
        "recorded_at": now,
        "dag_id": entry.dag_id,
        "provider": entry.provider,
        "days": list(entry.days),
        "trigger": entry.trigger,
        "request_id": entry.request_id,
        "debited": entry.debited,
        "follows": entry.follows,
        "schedule": entry.schedule,
        "due_at": entry.due_at,
    }
    outbox.enqueue(conn, QUEUE_LOG, row)
    if entry.due_at is not None:
        _write_due(conn, entry, status=str(entry.status), reason=entry.reason, now=now)


def skip(conn: Connection, entry: Entry, *, reason: str, now: datetime) -> None:
    """Tell that a due time makes no entry."""
    _write_due(conn, entry, status="SKIPPED", reason=reason, now=now)


def _write_due(
    conn: Connection, entry: Entry, *, status: str, reason: str | None, now: datetime
) -> None:
    due_at = entry.due_at or now
    row = {
        "org_slug": entry.org_slug,
        "scheduled_run_id": f"{entry.org_slug}|{entry.pipeline_id}|{due_at.isoformat()}",
        "pipeline_id": entry.pipeline_id,
        "schedule": entry.schedule,
        "due_at": due_at,
        "status": status,
        "run_id": entry.run_id,
        "reason": reason,
        "recorded_at": now,
    }
    outbox.enqueue(conn, SCHEDULE_LOG, row)
