"""From an admitted run to Airflow: it is taken, or it ends with the reason why it was not."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection
from starlette.concurrency import run_in_threadpool

from convergence.api.http.services import Services
from convergence.errors import ConvergenceError, LimitError
from convergence.runs import records
from convergence.runs.eligibility import Eligibility
from convergence.state.org_runs import OrgRun, RunError
from convergence.state.slots import LimitReached
from convergence.tenants import audit
from convergence.tenants.audit import Actor, AuditedAction, AuditResult


def admit(
    conn: Connection, run: OrgRun, *, standing: Eligibility, by: Actor, now: datetime
) -> None:
    """Record the run, take its slot and tell the audit log, in the caller's transaction.

    Raises:
        LimitError: the plan's quota is used up; the facts say which, its use and when it resets.
    """
    assert standing.limits is not None  # noqa: S101 - the gate refuses an org without limits
    outcome = records.admit_run(conn, run, limits=standing.limits, now=now)
    if isinstance(outcome, LimitReached):
        raise _limit_error(outcome, plan=standing.plan, now=now)
    act = AuditedAction(run.org_slug, by, "run.trigger", run.run_id)
    audit.append_entry(conn, act, result=AuditResult.SUCCEEDED, now=now)


def _limit_error(refused: LimitReached, *, plan: str | None, now: datetime) -> LimitError:
    names = {
        "runs_per_day": "runs per UTC day",
        "runs_per_month": "runs per UTC month",
        "concurrent_runs": "runs at once",
    }
    wait = (refused.resets_at - now) if refused.resets_at else timedelta(seconds=30)
    return LimitError(
        f"The plan allows {refused.maximum} {names[refused.limit]}; {refused.use} are used.",
        limit=refused.limit,
        maximum=refused.maximum,
        used=refused.use,
        plan=plan,
        resets_at=refused.resets_at,
        retry_after=max(1, round(wait.total_seconds())),
    )


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
