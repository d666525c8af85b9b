"""The execution queue: runs that wait for a slot of their org's plan, or were due by its schedule.

An entry is QUEUED until its run is admitted, then STARTED; or it ends FAILED with the reason.
Every change also goes to the warehouse, as a row of its own.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row, Select, func, or_, select, update

from convergence.state import queue_log
from convergence.state.org_runs import Trigger
from convergence.state.tables import added
from convergence.state.tables import execution_queue as table

# Below every priority that a customer can choose.
BACKGROUND = -100
_RUN_PREFIX = "queue__"


class QueueStatus(StrEnum):
    """Where an entry stands."""

    QUEUED = "QUEUED"
    STARTED = "STARTED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


@dataclass(frozen=True)
class Entry:
    """One run that is to be started.

    Attributes:
        provider: whose integration it needs, as tables name it; None for none.
        days: UTC days to do; empty for what is due when it starts.
        reason: why it waits, or why it will not run.
        debited: whether its run counts against the plan's limits.
        follows: the entry whose run must have succeeded before this one starts.
        due_at: when the org's own schedule made it due; None when somebody asked for it.
        schedule: that schedule.
        not_before: when it is tried again, after Airflow refused its run.
    """

    org_slug: str
    pipeline_id: str
    dag_id: str
    provider: str | None
    requested_by: str
    enqueued_at: datetime
    trigger: Trigger = "api"
    days: tuple[date, ...] = ()
    params: Mapping[str, Any] = field(default_factory=dict)
    priority: int = 0
    request_id: str | None = None
    status: QueueStatus = QueueStatus.QUEUED
    reason: str | None = None
    run_id: str | None = None
    ended_at: datetime | None = None
    debited: bool = True
    follows: str | None = None
    schedule: str | None = None
    due_at: datetime | None = None
    not_before: datetime | None = None
    queue_id: str = field(default_factory=lambda: f"que_{uuid.uuid4().hex[:24]}")

    @property
    def dag_run_id(self) -> str:
        """Airflow's id of its run: the same however often it is started."""
        return f"{_RUN_PREFIX}{self.queue_id}"

    @property
    def in_background(self) -> bool:
        """Whether nobody waits for its run, so that it leaves slots to the others."""
        return self.priority <= BACKGROUND


def add(conn: Connection, entry: Entry) -> None:
    """Put an entry into the queue."""
    conn.execute(table.insert().values(**_values(entry)))
    queue_log.write(conn, entry, now=entry.enqueued_at)


def restore(conn: Connection, entry: Entry) -> bool:
    """Put back an entry that the log tells waits, unless the store knows it; whether it did.

    Started twice it is one run: its ids are the entry's.
    """
    return added(conn, table, _values(entry))


def get(conn: Connection, queue_id: str) -> Entry | None:
    """The entry, if it is known."""
    row = conn.execute(select(table).where(table.c.queue_id == queue_id)).one_or_none()
    return _entry(row) if row else None


def waiting(
    conn: Connection,
    *,
    org_slug: str | None = None,
    dag_ids: Sequence[str] | None = None,
    now: datetime | None = None,
    limit: int = 500,
) -> list[Entry]:
    """Entries that wait, the most urgent and then the oldest first.

    Args:
        conn: of the state store.
        org_slug: whose; None for every org's.
        dag_ids: of which DAGs; None for every one.
        now: leaves out entries that are tried again only later.
        limit: at most so many.
    """
    query = select(table).where(table.c.status == QueueStatus.QUEUED)
    if dag_ids is not None:
        query = query.where(table.c.dag_id.in_(dag_ids))
    if now is not None:
        query = query.where(or_(table.c.not_before.is_(None), table.c.not_before <= now))
    return _fetch(conn, _of(query, org_slug), limit=limit)


def waiting_dags(conn: Connection, *, org_slug: str | None = None) -> list[str]:
    """The DAGs that entries wait for, by name."""
    query = select(table.c.dag_id).distinct().where(table.c.status == QueueStatus.QUEUED)
    return sorted(conn.execute(_of(query, org_slug)).scalars())


def hold_back(conn: Connection, dag_id: str, *, reason: str, org_slug: str | None = None) -> None:
    """Note why the waiting entries of a DAG do not start."""
    mine = (table.c.dag_id == dag_id) & (table.c.status == QueueStatus.QUEUED)
    changed = or_(table.c.reason.is_(None), table.c.reason != reason)
    statement = update(table).where(mine, changed).values(reason=reason)
    if org_slug is not None:
        statement = statement.where(table.c.org_slug == org_slug)
    conn.execute(statement)


def put_back(
    conn: Connection, dag_run_id: str, *, reason: str, now: datetime, not_before: datetime
) -> bool:
    """Let a started entry wait again, since its run did not begin; False when there is none."""
    queue_id = dag_run_id.removeprefix(_RUN_PREFIX)
    values = {"status": QueueStatus.QUEUED, "reason": reason, "not_before": not_before}
    values |= {"run_id": None, "ended_at": None}
    mine = (table.c.queue_id == queue_id) & (table.c.status == QueueStatus.STARTED)
    moved = conn.execute(update(table).where(mine).values(**values)).rowcount == 1
    entry = get(conn, queue_id) if moved else None
    if entry is not None:
        queue_log.write(conn, entry, now=now)
    return moved


def started_since(conn: Connection, instant: datetime) -> list[Entry]:
    """Entries that were started after the instant."""
    started = (table.c.status == QueueStatus.STARTED) & (table.c.ended_at >= instant)
    return _fetch(conn, select(table).where(started), limit=1000)


def list_for_org(
    conn: Connection, org_slug: str, *, statuses: Sequence[QueueStatus] = (), limit: int = 100
) -> list[Entry]:
    """An org's entries, newest first."""
    query = select(table).where(table.c.org_slug == org_slug)
    if statuses:
        query = query.where(table.c.status.in_(statuses))
    query = query.order_by(table.c.enqueued_at.desc(), table.c.queue_id).limit(limit)
    return [_entry(row) for row in conn.execute(query)]


def count_waiting(conn: Connection, org_slug: str | None, *, pipeline_id: str | None = None) -> int:
    """How many of the org's entries wait, or of all orgs'."""
    query = select(func.count()).select_from(table).where(table.c.status == QueueStatus.QUEUED)
    if pipeline_id is not None:
        query = query.where(table.c.pipeline_id == pipeline_id)
    return int(conn.execute(_of(query, org_slug)).scalar_one())


def settle(
    conn: Connection,
    queue_id: str,
    status: QueueStatus,
    *,
    now: datetime,
    run_id: str | None = None,
    reason: str | None = None,
) -> bool:
    """Move a waiting entry on; False when it no longer waits. QUEUED only notes the reason."""
    values: dict[str, Any] = {"status": status, "reason": reason, "run_id": run_id}
    values["not_before"] = None
    if status is not QueueStatus.QUEUED:
        values["ended_at"] = now
    mine = (table.c.queue_id == queue_id) & (table.c.status == QueueStatus.QUEUED)
    moved = conn.execute(update(table).where(mine).values(**values)).rowcount == 1
    entry = get(conn, queue_id) if moved and status is not QueueStatus.QUEUED else None
    if entry is not None:
        queue_log.write(conn, entry, now=now)
    return moved


def _of(query: Select[Any], org_slug: str | None) -> Select[Any]:
    return query if org_slug is None else query.where(table.c.org_slug == org_slug)


def _fetch(conn: Connection, query: Select[Any], *, limit: int) -> list[Entry]:
    order = (table.c.priority.desc(), table.c.enqueued_at, table.c.queue_id)
    return [_entry(row) for row in conn.execute(query.order_by(*order).limit(limit))]


def _values(entry: Entry) -> dict[str, Any]:
    days = [day.isoformat() for day in entry.days]
    return asdict(entry) | {"days": days, "params": dict(entry.params)}


def _entry(row: Row[Any]) -> Entry:
    values = {name: getattr(row, name) for name in Entry.__dataclass_fields__}
    days = tuple(date.fromisoformat(day) for day in row.days)
    known = {"days": days, "status": QueueStatus(row.status)}
    # Entries of a release without the column have no word on it.
    return Entry(**{**values, **known, "debited": row.debited is not False})
