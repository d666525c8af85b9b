"""Starting and reading runs from inside a task, by the token that Airflow gave this task.

It is the way of Airflow's own `TriggerDagRunOperator`, which allows one run per task: the
message goes to the task's supervisor, and from there to the Execution API. So no worker holds a
service account, and there is no password to leak.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from convergence.errors import OrchestratorUnavailableError, PipelineUnavailableError
from convergence.runs.readiness import DagState, check_readiness

if TYPE_CHECKING:
    from airflow.sdk.execution_time.comms import CommsDecoder, ToSupervisor, ToTask


class TaskOrchestrator:
    """Airflow as the running task reaches it."""

    def trigger(self, dag_id: str, *, dag_run_id: str, conf: Mapping[str, Any]) -> None:
        """Start a run, unless the one of this id exists.

        Raises:
            PipelineUnavailableError: Airflow does not know the DAG, or its file is broken.
            OrchestratorUnavailableError: it is unknown whether Airflow accepted the run.
        """
        from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
        from airflow.sdk.execution_time.comms import ErrorResponse, TriggerDagRun

        message = TriggerDagRun(dag_id=dag_id, run_id=dag_run_id, conf=dict(conf))
        try:
            response = _supervisor().send(message)
        except AirflowRuntimeError as error:
            response = error.error
        if not isinstance(response, ErrorResponse):
            return
        if response.error is ErrorType.DAGRUN_ALREADY_EXISTS:
            return
        if (response.detail or {}).get("status_code") in {400, 404}:
            # Unknown, stale or with import errors; whether it is paused was asked before.
            raise PipelineUnavailableError("The pipeline is not loaded.", reason="unknown")
        raise OrchestratorUnavailableError(
            "Airflow did not accept the run", response=response.error.value
        )

    def check_readiness(self, dag_id: str) -> PipelineUnavailableError | None:
        """Return the reason why a run of the DAG can't start now; None when it can.

        A task is not shown whether a DAG is stale or its file broken: triggering it says so.

        Raises:
            OrchestratorUnavailableError: Airflow did not say.
        """
        from airflow.sdk.exceptions import AirflowRuntimeError
        from airflow.sdk.execution_time.comms import DagResult, ErrorResponse, GetDag

        try:
            response = _supervisor().send(GetDag(dag_id=dag_id))
        except AirflowRuntimeError as error:
            response = error.error
        if isinstance(response, DagResult):
            return check_readiness(DagState(dag_id, response.is_paused))
        if (
            isinstance(response, ErrorResponse)
            and (response.detail or {}).get("status_code") == 404
        ):
            return check_readiness(None)
        raise OrchestratorUnavailableError("Airflow did not return whether the pipeline is paused")

    def state_of(self, dag_id: str, dag_run_id: str) -> str | None:
        """Return Airflow's state of a run; None for an unknown run.

        Raises:
            OrchestratorUnavailableError: it did not say.
        """
        from airflow.sdk.exceptions import AirflowRuntimeError
        from airflow.sdk.execution_time.comms import (
            DagRunResult,
            ErrorResponse,
            GetDagRun,
        )

        try:
            response = _supervisor().send(GetDagRun(dag_id=dag_id, run_id=dag_run_id))
        except AirflowRuntimeError as error:
            response = error.error
        if isinstance(response, DagRunResult):
            return response.state.value
        if (
            isinstance(response, ErrorResponse)
            and (response.detail or {}).get("status_code") == 404
        ):
            return None
        raise OrchestratorUnavailableError("Airflow did not return the state of the run")


def _supervisor() -> CommsDecoder[ToTask, ToSupervisor]:
    from airflow.sdk.execution_time import task_runner

    return task_runner.SUPERVISOR_COMMS
