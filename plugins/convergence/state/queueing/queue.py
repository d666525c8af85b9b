"""The execution queue: runs that wait for a slot of their org's plan, or that a schedule made due.

An entry is QUEUED until its run is admitted, then STARTED; or it ends FAILED with the reason.
Each change also goes to the warehouse's log, in the same transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, func, or_, select, update

from convergence.state.queueing import queue_log
from convergence.state.queueing.queued_run import (
    RUN_ID_PREFIX,
    QueuedRun,
    QueueStatus,
    build_table_row,
    parse_table_row,
)
from convergence.state.schema.tables import execution_queue as table
from convergence.state.schema.tables import insert_if_absent


def add_entry(conn: Connection, entry: QueuedRun) -> None:
    """Add an entry to the queue and log it."""
    conn.execute(table.insert().values(**build_table_row(entry)))
    queue_log.write_entry(conn, entry, now=entry.enqueued_at)


def restore_entry(conn: Connection, entry: QueuedRun) -> bool:
    """Add an entry from the log unless the store has it; return whether it was added.

    If the entry was started before, it is still one run: the run's ids follow from the entry's.
    """
    return insert_if_absent(conn, table, build_table_row(entry))


def get_entry(conn: Connection, queue_id: str) -> QueuedRun | None:
    """Return the entry, or None."""
    row = conn.execute(select(table).where(table.c.queue_id == queue_id)).mappings().one_or_none()
    return parse_table_row(row) if row else None


def list_waiting(
    conn: Connection,
    *,
    org_slug: str | None = None,
    dag_ids: Sequence[str] | None = None,
    now: datetime | None = None,
    limit: int = 500,
) -> list[QueuedRun]:
    """Return the entries that wait, by priority and then the oldest first.

    Args:
        conn: of the state store.
        org_slug: the org of the entries; None for all orgs.
        dag_ids: the DAGs of the entries; None for all DAGs.
        now: excludes entries that are tried again only after this instant; None includes them.
        limit: the maximum number of entries.
    """
    query = select(table).where(table.c.status == QueueStatus.QUEUED)
    if dag_ids is not None:
        query = query.where(table.c.dag_id.in_(dag_ids))
    if now is not None:
        query = query.where(or_(table.c.not_before.is_(None), table.c.not_before <= now))
    return _fetch_entries(conn, _filter_org(query, org_slug), limit=limit)


def list_waiting_dags(conn: Connection, *, org_slug: str | None = None) -> list[str]:
    """Return the ids of the DAGs that have waiting entries, sorted."""
    query = select(table.c.dag_id).distinct().where(table.c.status == QueueStatus.QUEUED)
    return sorted(conn.execute(_filter_org(query, org_slug)).scalars())


def set_waiting_reason(
    conn: Connection, dag_id: str, *, reason: str, org_slug: str | None = None
) -> None:
    """Set the reason why the waiting entries of a DAG do not start."""
    mine = (table.c.dag_id == dag_id) & (table.c.status == QueueStatus.QUEUED)
    changed = or_(table.c.reason.is_(None), table.c.reason != reason)
    statement = update(table).where(mine, changed).values(reason=reason)
    if org_slug is not None:
        statement = statement.where(table.c.org_slug == org_slug)
    conn.execute(statement)


def requeue_entry(
    conn: Connection, dag_run_id: str, *, reason: str, now: datetime, not_before: datetime
) -> bool:
    """Let a started entry wait again because its run did not begin; False without such an entry."""
    queue_id = dag_run_id.removeprefix(RUN_ID_PREFIX)
    values = {"status": QueueStatus.QUEUED, "reason": reason, "not_before": not_before}
    values |= {"run_id": None, "ended_at": None}
    mine = (table.c.queue_id == queue_id) & (table.c.status == QueueStatus.STARTED)
    moved = conn.execute(update(table).where(mine).values(**values)).rowcount == 1
    entry = get_entry(conn, queue_id) if moved else None
    if entry is not None:
        queue_log.write_entry(conn, entry, now=now)
    return moved


def list_started_since(conn: Connection, instant: datetime) -> list[QueuedRun]:
    """Return the entries that were started at or after the instant."""
    started = (table.c.status == QueueStatus.STARTED) & (table.c.ended_at >= instant)
    return _fetch_entries(conn, select(table).where(started), limit=1000)


def list_for_org(
    conn: Connection, org_slug: str, *, statuses: Sequence[QueueStatus] = (), limit: int = 100
) -> list[QueuedRun]:
    """Return an org's entries, newest first."""
    query = select(table).where(table.c.org_slug == org_slug)
    if statuses:
        query = query.where(table.c.status.in_(statuses))
    query = query.order_by(table.c.enqueued_at.desc(), table.c.queue_id).limit(limit)
    return [parse_table_row(row) for row in conn.execute(query).mappings()]


def count_waiting(conn: Connection, org_slug: str | None, *, pipeline_id: str | None = None) -> int:
    """Count the waiting entries of an org, or of all orgs."""
    query = select(func.count()).select_from(table).where(table.c.status == QueueStatus.QUEUED)
    if pipeline_id is not None:
        query = query.where(table.c.pipeline_id == pipeline_id)
    return int(conn.execute(_filter_org(query, org_slug)).scalar_one())


def settle_entry(
    conn: Connection,
    queue_id: str,
    status: QueueStatus,
    *,
    now: datetime,
    run_id: str | None = None,
    reason: str | None = None,
) -> bool:
    """Change a waiting entry's status; False when it waits no more. QUEUED sets only the reason."""
    values: dict[str, Any] = {"status": status, "reason": reason, "run_id": run_id}
    values["not_before"] = None
    if status is not QueueStatus.QUEUED:
        values["ended_at"] = now
    mine = (table.c.queue_id == queue_id) & (table.c.status == QueueStatus.QUEUED)
    moved = conn.execute(update(table).where(mine).values(**values)).rowcount == 1
    entry = get_entry(conn, queue_id) if moved and status is not QueueStatus.QUEUED else None
    if entry is not None:
        queue_log.write_entry(conn, entry, now=now)
    return moved


def _filter_org(query: Select[Any], org_slug: str | None) -> Select[Any]:
    return query if org_slug is None else query.where(table.c.org_slug == org_slug)


def _fetch_entries(conn: Connection, query: Select[Any], *, limit: int) -> list[QueuedRun]:
    order = (table.c.priority.desc(), table.c.enqueued_at, table.c.queue_id)
    rows = conn.execute(query.order_by(*order).limit(limit)).mappings()
    return [parse_table_row(row) for row in rows]
