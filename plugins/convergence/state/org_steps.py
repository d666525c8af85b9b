"""Steps of org runs: one row per org run and step, the newest attempt's."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row, func, select, update

from convergence import metering
from convergence.metering import Used
from convergence.state.org_runs import RunError
from convergence.state.schema.tables import build_upsert, org_steps


class StepStatus(StrEnum):
    """The status of a step of an org run."""

    RUNNING = "RUNNING"
    SUCCESS = "SUCCESS"
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"


@dataclass(frozen=True)
class OrgStep:
    """One step of one org run.

    Attributes:
        result: small, JSON, and without secrets.
        used: the resources that all its ended attempts used; a newer attempt does not reset it.
        max_tries: of the Airflow task when the attempt began. Airflow changes it only when a
            person clears the task. None in rows of earlier releases.
        began_at: when the first attempt of this work began; automatic retries continue the work.
        cleared: whether this work began because a person cleared the task.
    """

    run_id: str
    step: str
    org_slug: str
    processor: str
    attempt: int
    started_at: datetime
    status: StepStatus = StepStatus.RUNNING
    ended_at: datetime | None = None
    rows_processed: int | None = None
    destination_table: str | None = None
    error: RunError | None = None
    result: Mapping[str, Any] | None = None
    used: Used = field(default_factory=dict)
    max_tries: int | None = None
    began_at: datetime | None = None
    cleared: bool = False


def start_step(conn: Connection, step: OrgStep) -> bool:
    """Record that an attempt at a step began; return False when a newer attempt has begun."""
    values = _build_row(step)
    statement = build_upsert(conn, org_steps).values(**values)
    statement = statement.on_conflict_do_update(
        index_elements=["run_id", "step"],
        set_=values,
        where=org_steps.c.attempt <= step.attempt,
    )
    return conn.execute(statement.returning(org_steps.c.step)).one_or_none() is not None


def finish_step(
    conn: Connection,
    run_id: str,
    step: str,
    *,
    attempt: int,
    status: StepStatus,
    now: datetime,
    rows_processed: int | None = None,
    destination_table: str | None = None,
    error: RunError | None = None,
    result: Mapping[str, Any] | None = None,
    used: Used | None = None,
) -> bool:
    """Record how an attempt ended; return False when it had ended, or a newer one began.

    The resources it used are added to those of earlier attempts.
    """
    before = get_step(conn, run_id, step)
    so_far = metering.add_usage([before.used if before else {}, used or {}])
    statement = (
        update(org_steps)
        .where(
            org_steps.c.run_id == run_id,
            org_steps.c.step == step,
            org_steps.c.attempt == attempt,
            org_steps.c.status == StepStatus.RUNNING,
        )
        .values(
            status=status,
            ended_at=now,
            rows_processed=rows_processed,
            destination_table=destination_table,
            error_code=error.code if error else None,
            error_message=error.message if error else None,
            result=dict(result) if result is not None else None,
            used=metering.dump_usage(so_far),
        )
    )
    return conn.execute(statement).rowcount == 1


def get_step(conn: Connection, run_id: str, step: str) -> OrgStep | None:
    """Return the newest attempt at a step, or None."""
    query = select(org_steps).where(org_steps.c.run_id == run_id, org_steps.c.step == step)
    row = conn.execute(query).one_or_none()
    return _build_step(row) if row else None


def list_for_run(conn: Connection, run_id: str) -> list[OrgStep]:
    """Return the run's steps in the order in which they began."""
    query = select(org_steps).where(org_steps.c.run_id == run_id)
    rows = conn.execute(query.order_by(org_steps.c.started_at, org_steps.c.step))
    return [_build_step(row) for row in rows]


def list_for_step(conn: Connection, step: str, *, run_ids: Collection[str]) -> dict[str, OrgStep]:
    """Return the newest attempt at one step of each of several org runs, by run."""
    query = select(org_steps).where(org_steps.c.step == step, org_steps.c.run_id.in_(run_ids))
    return {row.run_id: _build_step(row) for row in conn.execute(query)}


def keep_attempts(conn: Connection, step: str, *, run_ids: Collection[str], max_tries: int) -> None:
    """Keep recorded attempts valid for a task that a person has cleared since."""
    these = (org_steps.c.step == step) & org_steps.c.run_id.in_(run_ids)
    conn.execute(update(org_steps).where(these).values(max_tries=max_tries))


def count_rows(conn: Connection, run_id: str) -> int:
    """Return the number of rows that the run's steps processed together."""
    query = select(func.coalesce(func.sum(org_steps.c.rows_processed), 0))
    return int(conn.execute(query.where(org_steps.c.run_id == run_id)).scalar_one())


def _build_row(step: OrgStep) -> dict[str, Any]:
    return {
        "run_id": step.run_id,
        "step": step.step,
        "org_slug": step.org_slug,
        "processor": step.processor,
        "status": step.status,
        "attempt": step.attempt,
        "started_at": step.started_at,
        "ended_at": step.ended_at,
        "rows_processed": step.rows_processed,
        "destination_table": step.destination_table,
        "error_code": step.error.code if step.error else None,
        "error_message": step.error.message if step.error else None,
        "result": dict(step.result) if step.result is not None else None,
        "max_tries": step.max_tries,
        "began_at": step.began_at,
        "cleared": step.cleared,
    }


def _build_step(row: Row[Any]) -> OrgStep:
    error = RunError(row.error_code, row.error_message or "") if row.error_code else None
    return OrgStep(
        run_id=row.run_id,
        step=row.step,
        org_slug=row.org_slug,
        processor=row.processor,
        attempt=row.attempt,
        started_at=row.started_at,
        status=StepStatus(row.status),
        ended_at=row.ended_at,
        rows_processed=row.rows_processed,
        destination_table=row.destination_table,
        error=error,
        result=row.result,
        used=metering.load_usage(row.used),
        max_tries=row.max_tries,
        began_at=row.began_at,
        cleared=bool(row.cleared),
    )
