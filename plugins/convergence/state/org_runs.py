"""Org runs: the part of one org in one Airflow run. This table has their current status.

A run is PENDING once it is admitted, QUEUED once Airflow has it, RUNNING once its first task
selected it, and then it ends.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import (
    Connection,
    Row,
    Select,
    Update,
    bindparam,
    delete,
    func,
    select,
    tuple_,
    update,
)
from sqlalchemy.sql.dml import ReturningUpdate

from convergence.state.schema.column_types import RunTrigger
from convergence.state.schema.tables import insert_if_absent, org_runs


class RunStatus(StrEnum):
    """The status of an org run."""

    PENDING = "PENDING"
    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    SUCCESS = "SUCCESS"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


LIVE = (RunStatus.PENDING, RunStatus.QUEUED, RunStatus.RUNNING)
ENDED = (RunStatus.SUCCESS, RunStatus.FAILED, RunStatus.CANCELLED)

# A trigger waits for these statements: build them once, so that SQLAlchemy analyses them once.
_THIS = org_runs.c.run_id == bindparam("run")
_ONE = select(org_runs).where(_THIS)
# A live run may fail in any status: rejected by its first task, cancelled, or lost.
_ALLOWED_FROM: Mapping[RunStatus, tuple[RunStatus, ...]] = {
    RunStatus.PENDING: (),
    RunStatus.QUEUED: (RunStatus.PENDING,),
    RunStatus.RUNNING: (RunStatus.PENDING, RunStatus.QUEUED),
    RunStatus.SUCCESS: (RunStatus.RUNNING,),
    RunStatus.FAILED: LIVE,
    RunStatus.CANCELLED: LIVE,
}


@dataclass(frozen=True)
class RunError:
    """Reason why a run or step did not succeed: code and message for the customer, no secrets."""

    code: str
    message: str


@dataclass(frozen=True)
class OrgRun:
    """One org's part of one Airflow run.

    Attributes:
        requested_by: a key id, "admin" or "scheduler".
        debited: whether it counts against the plan's limits.
    """

    run_id: str
    org_slug: str
    pipeline_id: str
    dag_id: str
    dag_run_id: str
    trigger: RunTrigger
    requested_by: str
    created_at: datetime
    status: RunStatus = RunStatus.QUEUED
    days: tuple[date, ...] = ()
    params: Mapping[str, Any] = field(default_factory=dict)
    request_id: str | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    error: RunError | None = None
    debited: bool = True

    @property
    def is_live(self) -> bool:
        """Whether the run has not ended."""
        return self.status in LIVE


class CountPeriods(NamedTuple):
    """The begin of each counted period: the UTC day, the UTC month, and the oldest live run."""

    day: datetime
    month: datetime
    live: datetime


class RunUsage(NamedTuple):
    """The number of an org's runs: today, this month (both UTC), and not yet ended."""

    today: int
    this_month: int
    active: int


class RunPosition(NamedTuple):
    """A position in an org's list of runs: the last run of the page before."""

    created_at: datetime
    run_id: str


_AT = org_runs.c.created_at.type
_SINCE = {
    name: org_runs.c.created_at >= bindparam(name, type_=_AT) for name in CountPeriods._fields
}
_COUNTS = select(
    func.count().filter(_SINCE["day"]),
    func.count().filter(_SINCE["month"]),
    func.count().filter(_SINCE["live"], org_runs.c.status.in_(LIVE)),
).where(
    org_runs.c.org_slug == bindparam("org"),
    org_runs.c.created_at >= bindparam("first"),
    org_runs.c.debited,
)


def org_run_id(dag_id: str, dag_run_id: str, org_slug: str) -> str:
    """Return the id of an org's run in an Airflow run; it depends on the arguments only."""
    identity = f"{dag_id}\n{dag_run_id}\n{org_slug}"
    return f"run_{hashlib.sha256(identity.encode()).hexdigest()[:24]}"


def insert_run(conn: Connection, run: OrgRun) -> bool:
    """Add a run; return False when its id exists, as when a task is tried again."""
    return insert_if_absent(conn, org_runs, _build_row(run))


def get_run(conn: Connection, run_id: str) -> OrgRun | None:
    """Return the run, or None."""
    row = conn.execute(_ONE, {"run": run_id}).one_or_none()
    return _parse_run(row) if row else None


def list_for_dag_run(conn: Connection, dag_id: str, dag_run_id: str) -> list[OrgRun]:
    """Return the org runs of one Airflow run, sorted by org."""
    query = select(org_runs).where(org_runs.c.dag_id == dag_id, org_runs.c.dag_run_id == dag_run_id)
    return _fetch_runs(conn, query.order_by(org_runs.c.org_slug))


def list_for_org(
    conn: Connection,
    org_slug: str,
    *,
    limit: int,
    before: RunPosition | None = None,
    statuses: Sequence[RunStatus] = (),
    pipeline_id: str | None = None,
) -> list[OrgRun]:
    """Return an org's runs, newest first, beginning after the run at `before`."""
    query = select(org_runs).where(org_runs.c.org_slug == org_slug)
    if statuses:
        query = query.where(org_runs.c.status.in_(statuses))
    if pipeline_id is not None:
        query = query.where(org_runs.c.pipeline_id == pipeline_id)
    if before is not None:
        place = tuple_(org_runs.c.created_at, org_runs.c.run_id)
        query = query.where(place < tuple_(before.created_at, before.run_id))
    query = query.order_by(org_runs.c.created_at.desc(), org_runs.c.run_id.desc())
    return _fetch_runs(conn, query.limit(limit))


def live_before(conn: Connection, instant: datetime, *, limit: int = 500) -> list[OrgRun]:
    """Return the runs that were created before the instant and have not ended, oldest first."""
    query = select(org_runs).where(org_runs.c.status.in_(LIVE), org_runs.c.created_at < instant)
    return _fetch_runs(conn, query.order_by(org_runs.c.created_at).limit(limit))


def transition_run(
    conn: Connection,
    run_id: str,
    status: RunStatus,
    *,
    now: datetime,
    error: RunError | None = None,
) -> OrgRun | None:
    """Change the run's status and return the run.

    None where the run does not exist or its present status does not allow the change. So of two
    processes that end the same run, only one gets it.
    """
    values: dict[str, Any] = {"run": run_id}
    if status is RunStatus.RUNNING or status in ENDED:
        values["now"] = now
    if error is not None:
        values |= {"code": error.code, "message": error.message}
    statement = _build_transition(status, with_error=error is not None)
    row = conn.execute(statement, values).one_or_none()
    return _parse_run(row) if row else None


@cache
def _build_transition(status: RunStatus, *, with_error: bool) -> ReturningUpdate[Any]:
    now = bindparam("now", type_=org_runs.c.ended_at.type)
    values: dict[str, Any] = {"status": status}
    if status is RunStatus.RUNNING:
        values["started_at"] = func.coalesce(org_runs.c.started_at, now)
    if status in ENDED:
        values["ended_at"] = now
    if with_error:
        values |= {"error_code": bindparam("code"), "error_message": bindparam("message")}
    where = org_runs.c.status.in_(_ALLOWED_FROM[status])
    return update(org_runs).where(_THIS, where).values(**values).returning(*org_runs.c)


def reopen_run(conn: Connection, run_id: str) -> bool:
    """Set an ended run to RUNNING again, after a person cleared its Airflow run or task."""
    values = {
        "status": RunStatus.RUNNING,
        "ended_at": None,
        "error_code": None,
        "error_message": None,
    }
    where = org_runs.c.status.in_(ENDED)
    return conn.execute(_build_update(run_id, values).where(where)).rowcount == 1


def set_run_days(conn: Connection, run_id: str, days: Sequence[date]) -> None:
    """Set the days of a run, once its first task has selected them."""
    conn.execute(_build_update(run_id, {"days": [day.isoformat() for day in days]}))


def refund_run(conn: Connection, run_id: str) -> None:
    """Stop counting a run against the org's quota, because Airflow did not take it."""
    conn.execute(_build_update(run_id, {"debited": False}))


def delete_pending(conn: Connection, run_id: str) -> bool:
    """Delete a run that was not submitted to Airflow; return False without such a run."""
    pending = org_runs.c.status == RunStatus.PENDING
    return conn.execute(delete(org_runs).where(org_runs.c.run_id == run_id, pending)).rowcount == 1


def count_runs(conn: Connection, org_slug: str, *, since: CountPeriods) -> RunUsage:
    """Count the org's debited runs of each period; only `active` excludes ended ones."""
    values = {"org": org_slug, "first": min(since.month, since.live), **since._asdict()}
    return RunUsage._make(conn.execute(_COUNTS, values).one())


def _build_update(run_id: str, values: dict[str, Any]) -> Update:
    return update(org_runs).where(org_runs.c.run_id == run_id).values(**values)


def _fetch_runs(conn: Connection, query: Select[Any]) -> list[OrgRun]:
    return [_parse_run(row) for row in conn.execute(query)]


def _build_row(run: OrgRun) -> dict[str, Any]:
    error = run.error
    return {
        "run_id": run.run_id,
        "org_slug": run.org_slug,
        "pipeline_id": run.pipeline_id,
        "dag_id": run.dag_id,
        "dag_run_id": run.dag_run_id,
        "trigger": run.trigger,
        "status": run.status,
        "days": [day.isoformat() for day in run.days],
        "params": dict(run.params),
        "request_id": run.request_id,
        "requested_by": run.requested_by,
        "debited": run.debited,
        "created_at": run.created_at,
        "started_at": run.started_at,
        "ended_at": run.ended_at,
        "error_code": error.code if error else None,
        "error_message": error.message if error else None,
    }


def _parse_run(row: Row[Any]) -> OrgRun:
    error = RunError(row.error_code, row.error_message or "") if row.error_code else None
    return OrgRun(
        run_id=row.run_id,
        org_slug=row.org_slug,
        pipeline_id=row.pipeline_id,
        dag_id=row.dag_id,
        dag_run_id=row.dag_run_id,
        trigger=row.trigger,
        requested_by=row.requested_by,
        created_at=row.created_at,
        status=RunStatus(row.status),
        days=tuple(date.fromisoformat(day) for day in row.days),
        params=row.params,
        request_id=row.request_id,
        started_at=row.started_at,
        ended_at=row.ended_at,
        error=error,
        debited=row.debited,
    )
