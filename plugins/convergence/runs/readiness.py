"""Decide whether Airflow would start a run of a pipeline now: one rule for all callers.

The API checks before it admits a trigger. The dispatcher checks before an entry of the queue takes
a slot: an org's schedule, an import after connecting, or a queued request.
"""

from __future__ import annotations

from dataclasses import dataclass

from convergence.errors import PipelineUnavailableError


@dataclass(frozen=True)
class DagState:
    """The state of a DAG, as far as it prevents runs.

    Attributes:
        is_stale: its file has not been seen by the last parsing.
        has_import_errors: its file can't be imported.
    """

    dag_id: str
    is_paused: bool
    is_stale: bool = False
    has_import_errors: bool = False


def check_readiness(state: DagState | None) -> PipelineUnavailableError | None:
    """Return why a run would not start now, or None.

    Args:
        state: of the DAG; None when Airflow knows no such DAG.
    """
    if state is None:
        return PipelineUnavailableError("The pipeline can't be started now.", reason="unknown")
    if state.is_paused:
        return PipelineUnavailableError("The pipeline is paused by its operator.", reason="paused")
    if state.is_stale or state.has_import_errors:
        return PipelineUnavailableError(
            "The pipeline is not loaded now; its file may be broken or new.", reason="stale"
        )
    return None
