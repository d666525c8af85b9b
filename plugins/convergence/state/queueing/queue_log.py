"""Rows of the warehouse's logs of the execution queue and of due schedules.

A row is committed with the change that it records. The newest row of a waiting entry holds all
that is needed to restore the entry after the state store was lost.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection

from convergence.state import outbox
from convergence.state.queueing.queued_run import QueuedRun, build_log_row

QUEUE_LOG = "org_pipeline_execution_queue"
SCHEDULE_LOG = "org_scheduled_pipeline_runs"


def write_entry(conn: Connection, entry: QueuedRun, *, now: datetime) -> None:
    """Log an entry's current status, and the due time that it came from, if it has one."""
    outbox.enqueue_row(conn, QUEUE_LOG, build_log_row(entry) | {"recorded_at": now})
    if entry.due_at is not None:
        _write_due_time(conn, entry, status=str(entry.status), reason=entry.reason, now=now)


def write_skipped(conn: Connection, entry: QueuedRun, *, reason: str, now: datetime) -> None:
    """Log a due time for which no entry was queued."""
    _write_due_time(conn, entry, status="SKIPPED", reason=reason, now=now)


def _write_due_time(
    conn: Connection, entry: QueuedRun, *, status: str, reason: str | None, now: datetime
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
    outbox.enqueue_row(conn, SCHEDULE_LOG, row)
