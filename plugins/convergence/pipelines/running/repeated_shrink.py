"""Runs that failed only because slices were refused again, of which an earlier run was announced.

A slice whose source keeps stating less is refused in every run until a person accepts it or the
source is whole again. Only the first of these runs is announced.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from convergence.run_error_codes import RunErrorCode
from convergence.runs.slice_states import Action
from convergence.state.org_runs import OrgRun, RunError, RunStatus
from convergence.state.org_steps import OrgStep, StepStatus

if TYPE_CHECKING:
    from convergence.runs.ledger import Ledger, SliceEnd


def find_repeated_runs(
    runs: Sequence[OrgRun],
    *,
    pipeline_id: str,
    ledger: Ledger,
    steps_of: Callable[[str], Mapping[str, OrgStep]],
) -> frozenset[str]:
    """Return the ids of the runs that no message needs.

    Args:
        runs: ended org runs of one Airflow run.
        pipeline_id: their pipeline.
        ledger: the ends of slices; read only if a run refused one.
        steps_of: returns the newest attempts at the steps of an org run.

    Raises:
        NotBootstrappedError, WarehouseUnavailableError, WarehouseError: as every query.
    """
    failed = [run for run in runs if _is_shrink(run.error) and run.status is RunStatus.FAILED]
    refused = [run for run in failed if _failed_by_shrink_only(steps_of(run.run_id))]
    if not refused:
        return frozenset()
    ends = ledger.read_ends(
        {Action.REFUSED},
        orgs=[run.org_slug for run in refused],
        pipeline_id=pipeline_id,
    )
    return frozenset(run.run_id for run in refused if _is_repeated(run, list(ends.values())))


def _is_shrink(error: RunError | None) -> bool:
    return error is not None and error.code == RunErrorCode.WOULD_SHRINK


def _failed_by_shrink_only(steps: Mapping[str, OrgStep]) -> bool:
    failed = [step.error for step in steps.values() if step.status is StepStatus.FAILED]
    return bool(failed) and all(_is_shrink(error) for error in failed)


def _is_repeated(run: OrgRun, ends: Sequence[SliceEnd]) -> bool:
    """Return whether other runs were the first to refuse each slice that the run refused."""
    first = [
        end.lower_pending.refused_by
        for end in ends
        if end.run_id == run.run_id and end.lower_pending is not None
    ]
    return bool(first) and run.run_id not in first
