"""From an admitted run to Airflow: it is taken, or it ends with the reason why it was not."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from sqlalchemy import Connection
from starlette.concurrency import run_in_threadpool

from convergence.api.http.services import Services
from convergence.errors import ConvergenceError
from convergence.runs import admission
from convergence.runs.eligibility import Eligibility
from convergence.state.org_runs import OrgRun, RunError
from convergence.tenants import audit
from convergence.tenants.audit import Actor, AuditedAction, AuditResult


def admit(
    conn: Connection, run: OrgRun, *, standing: Eligibility, by: Actor, now: datetime
) -> None:
    """Record the run, take its slot and tell the audit log, in the caller's transaction.

    Raises:
        LimitError: the plan's quota is used up; the facts say which, its use and when it resets.
    """
    admission.admit_run(conn, run, eligibility=standing, now=now)
    act = AuditedAction(run.org_slug, by, "run.trigger", run.run_id)
    audit.append_entry(conn, act, result=AuditResult.SUCCEEDED, now=now)


async def hand_over(run: OrgRun, *, services: Services) -> None:
    """Give the run to Airflow, or end it with the reason why Airflow did not take it."""
    try:
        await services.airflow.trigger(
            run.dag_id, dag_run_id=run.dag_run_id, conf={"org_run_id": run.run_id}
        )
    except BaseException as error:
        reason = (
            RunError(error.code, error.message)
            if isinstance(error, ConvergenceError)
            else RunError("interrupted", "the request ended before the run was handed over")
        )
        ending = run_in_threadpool(
            services.records.reject_run, run.run_id, now=datetime.now(UTC), error=reason
        )
        await asyncio.shield(ending)
        services.forget_dag(run.dag_id)
        raise
