"""Close an Airflow run: end each org run by the state of its steps, and summarize them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from convergence.errors import PipelineFailedError
from convergence.metering import Used, add_usage
from convergence.processors.batch import INTERRUPTED
from convergence.processors.context import PipelineInfo
from convergence.run_error_codes import RunErrorCode
from convergence.runs.records import NEVER_ENDED
from convergence.runs.run_cost import summarize_cost
from convergence.state.org_runs import OrgRun, RunError, RunStatus
from convergence.state.org_steps import OrgStep, StepStatus

NOT_SELECTED = RunErrorCode.SELECT_FAILED
NEVER_BEGAN = "did not start: no worker took it, or the step before it failed"

log = logging.getLogger(__name__)


class ClosingRecords(Protocol):
    """The methods of the run records that closing uses."""

    def of_dag_run(self, dag_id: str, dag_run_id: str) -> Sequence[OrgRun]:
        """Return the org runs of an Airflow run, by org."""

    def list_steps(self, run_id: str) -> Mapping[str, OrgStep]:
        """Return the newest attempt at each started step, by step."""

    def begin_run(self, run_id: str, *, now: datetime) -> bool:
        """Move a failed run to RUNNING again."""

    def finish_run(
        self, run_id: str, status: RunStatus, *, now: datetime, error: RunError | None = None
    ) -> bool:
        """End a run."""

    def finish_step(
        self, step: OrgStep, *, status: StepStatus, now: datetime, error: RunError | None = None
    ) -> bool:
        """Record the end of a step."""


@dataclass
class Summary:
    """The summary of a run: orgs by outcome, rows, used resources, and reasons of failures."""

    succeeded: int = 0
    cancelled: int = 0
    rows_processed: int = 0
    used: Used = field(default_factory=dict)
    failed: dict[str, RunError] = field(default_factory=dict)

    def to_result(self) -> dict[str, Any]:
        """Return the summary in the form that Airflow keeps as the task's result."""
        return {
            "status": "FAILED" if self.failed else "SUCCESS",
            "orgs_succeeded": self.succeeded,
            "orgs_failed": len(self.failed),
            "orgs_cancelled": self.cancelled,
            "rows_processed": self.rows_processed,
            "cost": summarize_cost(self.used),
            "failed": {org: f"{why.code}: {why.message}" for org, why in self.failed.items()},
        }

    def build_error(self) -> PipelineFailedError | None:
        """Return the error of a run with failed orgs, with the reason of each; else None."""
        if not self.failed:
            return None
        reasons = {org: f"{why.code}: {why.message}" for org, why in self.failed.items()}
        total = self.succeeded + len(reasons)
        return PipelineFailedError(f"{len(reasons)} of {total} orgs failed", orgs=reasons)


def close_orgs(
    pipeline: PipelineInfo, *, runs: ClosingRecords, dag_run_id: str, selected: bool, now: datetime
) -> Summary:
    """End every org run of an Airflow run that has not ended yet.

    Args:
        pipeline: the pipeline; `upstream` names every step.
        runs: the run records.
        dag_run_id: Airflow's id of the run.
        selected: whether the first task succeeded.
        now: the present.
    """
    summary = Summary()
    for run in runs.of_dag_run(pipeline.dag_id, dag_run_id):
        steps = runs.list_steps(run.run_id)
        summary.used = add_usage([summary.used, *(step.used for step in steps.values())])
        if run.status is RunStatus.CANCELLED:
            summary.cancelled += 1
            continue
        summary.rows_processed += sum(step.rows_processed or 0 for step in steps.values())
        error = _find_failure(run, steps, pipeline, selected=selected)
        _end_lost_steps(steps.values(), runs=runs, now=now)
        if error is None:
            summary.succeeded += 1
            if not run.is_live and run.status is not RunStatus.SUCCESS:
                runs.begin_run(run.run_id, now=now)
            runs.finish_run(run.run_id, RunStatus.SUCCESS, now=now)
        else:
            summary.failed[run.org_slug] = error
            log.error("%s failed: %s: %s", run.org_slug, error.code, error.message)
            runs.finish_run(run.run_id, RunStatus.FAILED, now=now, error=error)
    return summary


def _find_failure(
    run: OrgRun, steps: Mapping[str, OrgStep], pipeline: PipelineInfo, *, selected: bool
) -> RunError | None:
    """Return why the org run did not succeed; None if every step succeeded or had nothing to do."""
    if not selected:
        return run.error or RunError(NOT_SELECTED, "the run's first task did not succeed")
    if pipeline.tables and not run.days:
        return None
    undone = [name for name in pipeline.upstream if not _is_done(steps.get(name))]
    if not undone:
        return None
    for name in undone:
        step = steps.get(name)
        if step is not None and step.status is StepStatus.FAILED and step.error is not None:
            return RunError(step.error.code, f"{name}: {step.error.message}")
    began = undone[0] in steps
    return RunError(INTERRUPTED, f"{undone[0]} {NEVER_ENDED if began else NEVER_BEGAN}")


def _is_done(step: OrgStep | None) -> bool:
    if step is None:
        return False
    if step.status is StepStatus.SKIPPED:
        return step.error is None
    return step.status is StepStatus.SUCCESS


def _end_lost_steps(steps: Iterable[OrgStep], *, runs: ClosingRecords, now: datetime) -> None:
    lost = RunError(INTERRUPTED, f"the step {NEVER_ENDED}")
    for step in steps:
        if step.status is StepStatus.RUNNING:
            runs.finish_step(step, status=StepStatus.FAILED, now=now, error=lost)
