"""Run and step records: the live truth in the state store, every change shipped to the warehouse.

A transition and the append-only row that tells of it are committed together, so the log says
what happened, no more and no less.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from convergence.errors import NotFoundError
from convergence.metering import Used
from convergence.runs.admission import record_run
from convergence.runs.log_rows import RUN_LOG, STEP_LOG, build_run_row, build_step_row, record_name
from convergence.runs.run_cost import COST_LOG, build_cost_rows
from convergence.state import org_runs, org_steps, outbox, unannounced_runs
from convergence.state.org_runs import OrgRun, RunError, RunStatus
from convergence.state.org_steps import OrgStep, StepStatus
from convergence.state.slots import LimitReached, RunLimits, SlotTaken
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

# Airflow takes a trigger within seconds; a run still unknown to it by then never will be known.
GRACE = timedelta(minutes=15)
NEVER_ENDED = (
    "began and did not end: its worker died (killed, out of memory, or restarted) or the task was "
    "stopped, and no retry was left"
)
"""Of a step whose process could not report its end."""
_LOST = RunError("run_lost", "the scheduler has no record of this run")

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
    """Move a run on and log it, in the caller's transaction; False when the move is not legal."""
    moved = org_runs.transition_run(conn, run_id, status, now=now, error=error)
    if moved is not None:
        _log_run(conn, moved, now)
    return moved is not None


def withdraw_run(conn: Connection, run: OrgRun, *, now: datetime, reason: RunError) -> bool:
    """Take back a run that Airflow refused before it began; False when it has begun or ended.

    Its slot and its debit are free again. The warehouse's log keeps that it was tried.
    """
    withdrawn = org_runs.delete_pending(conn, run.run_id)
    if withdrawn:
        taken_back = replace(
            run, status=RunStatus.CANCELLED, ended_at=now, debited=False, error=reason
        )
        _log_run(conn, taken_back, now)
    return withdrawn


class RunRecords:
    """The records of org runs and their steps, one transaction a call."""

    def __init__(self, store: StateStore) -> None:
        self._store = store

    def admit_run(
        self, run: OrgRun, *, limits: RunLimits, now: datetime
    ) -> SlotTaken | LimitReached:
        """Admit a run within its org's limits."""
        with self._store.begin() as conn:
            return record_run(conn, run, limits=limits, now=now)

    def begin_run(self, run_id: str, *, now: datetime, days: Sequence[date] | None = None) -> bool:
        """Move a run to RUNNING, with the days it found due.

        False when it runs already, as when its first task is tried again, or was cancelled. One
        that failed is taken up again, as when its Airflow run is cleared.

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
        """Take up a run that ended, since a person cleared one of its tasks; never a cancelled one.

        Returns:
            Whether it had ended.
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
        """End a run that Airflow refused to take, and give its slot back."""
        with self._store.begin() as conn:
            ended = org_runs.transition_run(conn, run_id, RunStatus.FAILED, now=now, error=error)
            if ended is not None:
                org_runs.refund_run(conn, run_id)
                _log_run(conn, replace(ended, debited=False), now)
            return ended is not None

    def start_step(self, step: OrgStep) -> bool:
        """Record that an attempt at a step began; False when a newer one has.

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
        """Record how an attempt ended; False when it had ended or a newer one has begun.

        What it used is logged in either case.
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
        """End every org run that an ended Airflow run left open, by what its steps say.

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
        """End runs that nobody else will: their Airflow run has ended or does not exist.

        Airflow is asked outside any transaction.

        Returns:
            The org runs that this call ended, as they are now.
        """
        with self._store.read() as conn:
            open_runs = org_runs.live_before(conn, now - grace)
        asked = {(run.dag_id, run.dag_run_id) for run in open_runs}
        states = {ids: state_of(*ids) for ids in sorted(asked)}
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
    """End a run that its own last task did not, and note that this has yet to be told."""
    error = lost or _find_run_error(org_steps.list_for_run(conn, run.run_id), succeeded=succeeded)
    if error is None:
        move_run(conn, run.run_id, RunStatus.RUNNING, now=now)
        move_run(conn, run.run_id, RunStatus.SUCCESS, now=now)
    else:
        move_run(conn, run.run_id, RunStatus.FAILED, now=now, error=error)
    unannounced_runs.add_unannounced(conn, DagRunKey(run.dag_id, run.dag_run_id), now=now)
    return _require_run(conn, run.run_id)


def _find_run_error(steps: Sequence[OrgStep], *, succeeded: bool) -> RunError | None:
    """Why a run whose Airflow run is over did not succeed; None when it did."""
    for step in steps:
        if step.status is StepStatus.FAILED:
            return step.error or RunError("failed", f"{step.step} failed")
        if step.status is StepStatus.RUNNING:
            return RunError("step_lost", f"{step.step} {NEVER_ENDED}")
    if not succeeded:
        return RunError("run_incomplete", "the run ended before all its steps were done")
    return None


def _require_run(conn: Connection, run_id: str) -> OrgRun:
    run = org_runs.get_run(conn, run_id)
    if run is None:
        raise NotFoundError("There is no such run", run_id=run_id)
    return run


def _log_run(conn: Connection, run: OrgRun, now: datetime) -> None:
    # A run that nothing has taken up yet has no steps to ask for.
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
