"""Admission of a run and its submission to Airflow; a rejected run ends with the reason."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from sqlalchemy import Connection
from starlette.concurrency import run_in_threadpool

from convergence.api.http.services import ApiServices
from convergence.errors import ConvergenceError
from convergence.pipelines.running.acceptance import audit_acceptance
from convergence.run_error_codes import RunErrorCode
from convergence.runs import admission
from convergence.runs.eligibility import Eligibility
from convergence.state.org_runs import OrgRun, RunError
from convergence.tenants import audit
from convergence.tenants.audit import Actor, AuditedAction, AuditResult


def admit_run(
    conn: Connection, run: OrgRun, *, eligibility: Eligibility, by: Actor, now: datetime
) -> None:
    """Record the run, take its slot and write the audit row, in the caller's transaction.

    Raises:
        LimitError: the plan's quota is used up; it has the limit, its use and its reset.
    """
    admission.admit_run(conn, run, eligibility=eligibility, now=now)
    act = AuditedAction(run.org_slug, by, "run.trigger", run.run_id)
    audit.append_entry(conn, act, result=AuditResult.SUCCEEDED, now=now)
    audit_acceptance(conn, run, by=by, now=now)


async def submit_run(run: OrgRun, *, services: ApiServices) -> None:
    """Submit the run to Airflow, or end it with the reason why Airflow did not accept it."""
    try:
        await services.airflow.trigger_run(
            run.dag_id, dag_run_id=run.dag_run_id, conf={"org_run_id": run.run_id}
        )
    except BaseException as error:
        reason = (
            RunError(error.code, error.message)
            if isinstance(error, ConvergenceError)
            else RunError(
                RunErrorCode.INTERRUPTED, "the request ended before the run was submitted"
            )
        )
        ending = run_in_threadpool(
            services.records.reject_run, run.run_id, now=datetime.now(UTC), error=reason
        )
        await asyncio.shield(ending)
        services.forget_dag(run.dag_id)
        raise
