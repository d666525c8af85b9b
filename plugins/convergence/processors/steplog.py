"""Step records that a task reads before its work and writes after it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from convergence.metering import Used
from convergence.state import org_runs, org_steps
from convergence.state.org_runs import OrgRun, RunError
from convergence.state.org_steps import OrgStep, StepStatus
from convergence.state.store import StateStore

if TYPE_CHECKING:
    from convergence.runs.records import RunRecords


class StepLog:
    """Step records in the state store; each write also enqueues its row for the warehouse."""

    def __init__(self, store: StateStore, records: RunRecords) -> None:
        self._store = store
        self._records = records

    def get_run(self, run_id: str) -> OrgRun | None:
        """Return the org run, or None when it is unknown."""
        with self._store.read() as conn:
            return org_runs.get_run(conn, run_id)

    def list_steps(self, run_id: str) -> dict[str, OrgStep]:
        """Return the newest attempt at each started step of the org run, by step name."""
        with self._store.read() as conn:
            return {step.step: step for step in org_steps.list_for_run(conn, run_id)}

    def list_attempts(self, step: str, *, run_ids: Collection[str]) -> dict[str, OrgStep]:
        """Return the newest attempts at one step, by org run."""
        with self._store.read() as conn:
            return org_steps.list_for_step(conn, step, run_ids=run_ids)

    def keep_results(self, step: str, *, run_ids: Collection[str], max_tries: int) -> None:
        """Keep the results of recorded attempts for a task that a person has cleared since."""
        with self._store.begin() as conn:
            org_steps.keep_attempts(conn, step, run_ids=run_ids, max_tries=max_tries)

    def reopen_run(self, run_id: str, *, now: datetime) -> bool:
        """Reopen an ended org run after a person cleared one of its tasks."""
        return self._records.reopen_run(run_id, now=now)

    def record_start(self, step: OrgStep) -> bool:
        """Record the start of an attempt; return False when a newer attempt has started."""
        return self._records.start_step(step)

    def record_end(
        self,
        step: OrgStep,
        *,
        status: StepStatus,
        now: datetime,
        rows_processed: int | None = None,
        destination_table: str | None = None,
        error: RunError | None = None,
        result: Mapping[str, Any] | None = None,
        used: Used | None = None,
    ) -> bool:
        """Record the end of an attempt; return False when a newer attempt has started."""
        return self._records.finish_step(
            step.run_id,
            step.step,
            attempt=step.attempt,
            status=status,
            now=now,
            rows_processed=rows_processed,
            destination_table=destination_table,
            error=error,
            result=result,
            used=used,
        )
