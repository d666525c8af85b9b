"""Run and step records: the status in the state store, and each change in the warehouse's log.

A change and its append-only log row are committed in one transaction, so the log has exactly the
changes that happened.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from convergence.errors import NotFoundError
from convergence.metering import Used
from convergence.run_error_codes import RunErrorCode
from convergence.runs.log_rows import RUN_LOG, STEP_LOG, build_run_row, build_step_row, record_name
from convergence.runs.run_cost import COST_LOG, build_cost_rows
from convergence.state import org_runs, org_steps, outbox, unannounced_runs
from convergence.state.org_runs import OrgRun, RunError, RunStatus
from convergence.state.org_steps import OrgStep, StepStatus
from convergence.state.store import StateStore
from convergence.state.unannounced_runs import DagRunKey

__all__ = [
    "GRACE",
    "NEVER_ENDED",
    "DagRunState",
    "RunRecords",
    "move_run",
    "record_name",
    "withdraw_run",
]

# Airflow creates a run within seconds of its trigger. A run that it does not know by then is lost.
GRACE = timedelta(minutes=15)
NEVER_ENDED = (
    "began and did not end: its worker died (killed, out of memory, or restarted) or the task was "
    "stopped, and no retry was left"
)
"""Of a step whose process could not report its end."""
_LOST = RunError(RunErrorCode.RUN_LOST, "the scheduler has no record of this run")

DagRunState = Callable[[str, str], str | None]
"""(dag_id, dag_run_id) → Airflow's state of the run, None when it knows no such run."""


def move_run(
    conn: Connection,
    run_id: str,
    status: RunStatus,
    *,
    now: datetime,
    error: RunError | None = None,
) -> bool:
    """Change a run's status and log it; return False when the present status does not allow it."""
    moved = org_runs.transition_run(conn, run_id, status, now=now, error=error)
    if moved is not None:
        _log_run(conn, moved, now)
    return moved is not None


def withdraw_run(conn: Connection, run: OrgRun, *, now: datetime, reason: RunError) -> bool:
    """Delete a run that Airflow rejected before it began; return False when it began or ended.

    Its slot and its debit are free again. The warehouse's log keeps the attempt.
    """
    withdrawn = org_runs.delete_pending(conn, run.run_id)
    if withdrawn:
        taken_back = replace(
            run, status=RunStatus.CANCELLED, ended_at=now, debited=False, error=reason
        )
        _log_run(conn, taken_back, now)
    return withdrawn


class RunRecords:
    """The records of org runs and their steps; each call is one transaction."""

    def __init__(self, store: StateStore) -> None:
        self._store = store

    def begin_run(self, run_id: str, *, now: datetime, days: Sequence[date] | None = None) -> bool:
        """Set a run to RUNNING, with its selected days.

        False when it is RUNNING already, as when its first task is tried again, or was cancelled.
        A failed run is reopened, as when its Airflow run is cleared.

        Raises:
            NotFoundError: no such run was admitted.
        """
        with self._store.begin() as conn:
            run = _require_run(conn, run_id)
            if days is not None and run.status is not RunStatus.CANCELLED:
                org_runs.set_run_days(conn, run_id, days)
            if run.status is not RunStatus.FAILED:
                return move_run(conn, run_id, RunStatus.RUNNING, now=now)
            reopened = org_runs.reopen_run(conn, run_id)
            _log_run(conn, _require_run(conn, run_id), now)
            return reopened

    def reopen_run(self, run_id: str, *, now: datetime) -> bool:
        """Reopen an ended run whose task a person cleared; never a cancelled run.

        Returns:
            Whether the run had ended.
        """
        with self._store.begin() as conn:
            run = org_runs.get_run(conn, run_id)
            if run is None or run.status not in {RunStatus.SUCCESS, RunStatus.FAILED}:
                return False
            reopened = org_runs.reopen_run(conn, run_id)
            _log_run(conn, _require_run(conn, run_id), now)
            return reopened

    def mark_queued(self, run_id: str, *, now: datetime) -> bool:
        """Record that Airflow has the run."""
        with self._store.begin() as conn:
            return move_run(conn, run_id, RunStatus.QUEUED, now=now)

    def finish_run(
        self, run_id: str, status: RunStatus, *, now: datetime, error: RunError | None = None
    ) -> bool:
        """End a run; False when it had ended before."""
        with self._store.begin() as conn:
            return move_run(conn, run_id, status, now=now, error=error)

    def reject_run(self, run_id: str, *, now: datetime, error: RunError) -> bool:
        """End a run that Airflow rejected, and free its slot."""
        with self._store.begin() as conn:
            ended = org_runs.transition_run(conn, run_id, RunStatus.FAILED, now=now, error=error)
            if ended is not None:
                org_runs.refund_run(conn, run_id)
                _log_run(conn, replace(ended, debited=False), now)
            return ended is not None

    def start_step(self, step: OrgStep) -> bool:
        """Record that an attempt at a step began; return False when a newer one has begun.

        Raises:
            NotFoundError: no such run was admitted.
        """
        with self._store.begin() as conn:
            started = org_steps.start_step(conn, step)
            if started:
                _log_step(conn, step, now=step.started_at)
            return started

    def finish_step(
        self,
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
        """Record how an attempt ended; return False when it had ended or a newer one has begun.

        The resources it used are logged in either case.
        """
        with self._store.begin() as conn:
            finished = org_steps.finish_step(
                conn,
                run_id,
                step,
                attempt=attempt,
                status=status,
                now=now,
                rows_processed=rows_processed,
                destination_table=destination_table,
                error=error,
                result=result,
                used=used,
            )
            _log_cost(conn, run_id, step=step, used=used or {}, now=now)
            recorded = org_steps.get_step(conn, run_id, step) if finished else None
            if recorded is not None:
                _log_step(conn, recorded, now=now)
            return finished

    def close_dag_run(
        self, dag_id: str, dag_run_id: str, *, now: datetime, succeeded: bool = True
    ) -> list[OrgRun]:
        """End the live org runs of an ended Airflow run, according to their steps.

        Returns:
            The org runs that this call ended, as they are now.
        """
        with self._store.begin() as conn:
            left = [
                run for run in org_runs.list_for_dag_run(conn, dag_id, dag_run_id) if run.is_live
            ]
            return [_close_run(conn, run, now=now, succeeded=succeeded) for run in left]

    def close_dangling(
        self, state_of: DagRunState, *, now: datetime, grace: timedelta = GRACE
    ) -> list[OrgRun]:
        """End live runs whose Airflow run has ended or does not exist.

        `state_of` is called outside any transaction.

        Returns:
            The org runs that this call ended, as they are now.
        """
        with self._store.read() as conn:
            open_runs = org_runs.live_before(conn, now - grace)
        dag_runs = {(run.dag_id, run.dag_run_id) for run in open_runs}
        states = {ids: state_of(*ids) for ids in sorted(dag_runs)}
        over = [run for run in open_runs if _has_ended(states[run.dag_id, run.dag_run_id])]
        closed = []
        for run in over:
            state = states[run.dag_id, run.dag_run_id]
            with self._store.begin() as conn:
                lost = _LOST if state is None else None
                closed.append(
                    _close_run(conn, run, now=now, succeeded=state == "success", lost=lost)
                )
        return closed


def _has_ended(state: str | None) -> bool:
    return state not in {"queued", "running", "restarting"}


def _close_run(
    conn: Connection, run: OrgRun, *, now: datetime, succeeded: bool, lost: RunError | None = None
) -> OrgRun:
    """End a run that its own last task did not end, and record that its end is unannounced."""
    error = lost or _find_run_error(org_steps.list_for_run(conn, run.run_id), succeeded=succeeded)
    if error is None:
        move_run(conn, run.run_id, RunStatus.RUNNING, now=now)
        move_run(conn, run.run_id, RunStatus.SUCCESS, now=now)
    else:
        move_run(conn, run.run_id, RunStatus.FAILED, now=now, error=error)
    unannounced_runs.add_unannounced(conn, DagRunKey(run.dag_id, run.dag_run_id), now=now)
    return _require_run(conn, run.run_id)


def _find_run_error(steps: Sequence[OrgStep], *, succeeded: bool) -> RunError | None:
    """Return why a run of an ended Airflow run did not succeed; None when it did."""
    for step in steps:
        if step.status is StepStatus.FAILED:
            return step.error or RunError(RunErrorCode.FAILED, f"{step.step} failed")
        if step.status is StepStatus.RUNNING:
            return RunError(RunErrorCode.STEP_LOST, f"{step.step} {NEVER_ENDED}")
    if not succeeded:
        return RunError(RunErrorCode.RUN_INCOMPLETE, "the run ended before all its steps were done")
    return None


def _require_run(conn: Connection, run_id: str) -> OrgRun:
    run = org_runs.get_run(conn, run_id)
    if run is None:
        raise NotFoundError("There is no such run", run_id=run_id)
    return run


def _log_run(conn: Connection, run: OrgRun, now: datetime) -> None:
    # A run that has not begun has no steps: save the query.
    begun = run.started_at is not None or not run.is_live
    processed = org_steps.count_rows(conn, run.run_id) if begun else 0
    outbox.enqueue_row(conn, RUN_LOG, build_run_row(run, rows_processed=processed, now=now))


def _log_step(conn: Connection, step: OrgStep, *, now: datetime) -> None:
    outbox.enqueue_row(
        conn, STEP_LOG, build_step_row(_require_run(conn, step.run_id), step, now=now)
    )


def _log_cost(conn: Connection, run_id: str, *, step: str, used: Used, now: datetime) -> None:
    run = org_runs.get_run(conn, run_id)
    if run is not None:
        for row in build_cost_rows(run, step=step, used=used, now=now):
            outbox.enqueue_row(conn, COST_LOG, row)
