"""Admission: decide whether a run may start, take its slot and record it, in one place.

The HTTP API, the first task of a DAG run and the dispatcher of the queue all take these steps:

1. check: `EligibilityChecker.require_eligible`, then `require_enabled`. Both only read.
2. admit: `admit_run` counts the org's runs, takes a slot and records the run with its log row, in
   one transaction. The API claims the request's idempotency key in the same transaction.
3. submit: Airflow gets the run after that transaction is committed.

The order is a guarantee. A process that dies before the commit leaves nothing: no slot, no run, no
key. One that dies after it leaves a PENDING run, which the dispatcher submits or ends. Airflow
never has a run that was not recorded, and no slot is taken without a record.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection

from convergence.errors import ConflictError, LimitError, PipelineDisabledError
from convergence.runs.eligibility import Eligibility
from convergence.runs.log_rows import RUN_LOG, build_run_row
from convergence.state import outbox, slots
from convergence.state.org_runs import OrgRun
from convergence.state.pipeline_configs import PipelineConfig
from convergence.state.slots import LimitName, LimitReached, RunLimits, SlotTaken

LIMIT_NAMES: Final[Mapping[LimitName, str]] = {
    "runs_per_day": "runs per UTC day",
    "runs_per_month": "runs per UTC month",
    "concurrent_runs": "runs at once",
}
# Nobody knows when a running run ends: try again after this time.
_RETRY_WHEN_FULL = timedelta(seconds=30)


def require_enabled(config: PipelineConfig | None) -> Mapping[str, Any]:
    """Return the params of the org's own configuration of a pipeline.

    Args:
        config: None where the org has none.

    Raises:
        PipelineDisabledError: the org has disabled the pipeline.
    """
    if config is None:
        return {}
    if not config.enabled:
        raise PipelineDisabledError(
            "The organization has disabled this pipeline.", reason="disabled"
        )
    return config.params


def admit_run(
    conn: Connection,
    run: OrgRun,
    *,
    eligibility: Eligibility,
    now: datetime,
    in_background: bool = False,
) -> SlotTaken:
    """Take a slot for the run and record the run, in the caller's transaction.

    Args:
        conn: a write transaction; roll it back on any error.
        run: the run; one that was admitted before keeps its slot and is not counted again.
        eligibility: of the run's org, as `require_eligible` returned it.
        now: the instant at which the org's runs are counted.
        in_background: whether the run leaves slots to runs that a caller or a schedule requested.

    Raises:
        LimitError: a limit of the plan is reached; details: limit, use, reset time.
        ConflictError: the org has no quota.
    """
    limits = eligibility.limits
    if limits is None:
        raise ConflictError(
            "The organization has no quota; onboard it again.", reason="quota_missing"
        )
    allowed = limit_background_runs(limits) if in_background else limits
    outcome = record_run(conn, run, limits=allowed, now=now)
    if isinstance(outcome, LimitReached):
        reserved = outcome.maximum < getattr(limits, outcome.limit)
        raise _build_limit_error(outcome, plan=eligibility.plan, now=now, reserved=reserved)
    return outcome


def record_run(
    conn: Connection, run: OrgRun, *, limits: RunLimits, now: datetime
) -> SlotTaken | LimitReached:
    """Take a slot within the limits; record and log the run only if it was free."""
    outcome = slots.take_slot(conn, run, limits=limits, now=now)
    if isinstance(outcome, SlotTaken) and not outcome.taken_before:
        outbox.enqueue_row(conn, RUN_LOG, build_run_row(run, rows_processed=0, now=now))
    return outcome


def limit_background_runs(limits: RunLimits) -> RunLimits:
    """Return the part of an org's limits that runs in the background may use.

    One slot at once, and a quarter of the day's and the month's runs, stay free for runs that a
    caller or a schedule requests.
    """
    return RunLimits(
        runs_per_day=_take_three_quarters(limits.runs_per_day),
        runs_per_month=_take_three_quarters(limits.runs_per_month),
        concurrent_runs=min(limits.concurrent_runs, max(1, limits.concurrent_runs - 1)),
    )


def _take_three_quarters(runs: int) -> int:
    return min(runs, max(1, runs * 3 // 4))


def _build_limit_error(
    reached: LimitReached, *, plan: str | None, now: datetime, reserved: bool
) -> LimitError:
    name = LIMIT_NAMES[reached.limit]
    message = f"The plan allows {reached.maximum} {name}; {reached.use} are used."
    if reserved:
        message = (
            f"Imports may use {reached.maximum} {name}; {reached.use} are used. "
            "The rest is reserved for requested and scheduled runs."
        )
    wait = reached.resets_at - now if reached.resets_at else _RETRY_WHEN_FULL
    return LimitError(
        message,
        limit=reached.limit,
        maximum=reached.maximum,
        used=reached.use,
        plan=plan,
        resets_at=reached.resets_at,
        retry_after=max(1, round(wait.total_seconds())),
    )
