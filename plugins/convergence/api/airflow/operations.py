"""Operations: API calls that run a platform DAG, wait for it and return its result.

The id of an operation is the id of its Airflow run. It begins with the kind of operation, so the
DAG can be derived from the id.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from starlette.concurrency import run_in_threadpool

from convergence.api.airflow.catalog import Catalog
from convergence.api.airflow.client import AirflowClient, DagRun
from convergence.errors import NotFoundError, OperationFailedError, PipelineUnavailableError

_FIRST_POLL_SECONDS = 0.5
_MAX_POLL_SECONDS = 2.0
_SEPARATOR = "__"


class OperationKind(StrEnum):
    """Kinds of operation; an operation's id begins with the value."""

    BOOTSTRAP = "bootstrap"
    DRYRUN = "dryrun"
    ONBOARD = "onboard"
    VALIDATE = "validate"


DAG_IDS = {
    OperationKind.BOOTSTRAP: "setup.initial.onetime_bootstrap",
    OperationKind.DRYRUN: "setup.organizations.dryrun",
    OperationKind.ONBOARD: "setup.organizations.onboarding",
    OperationKind.VALIDATE: "integrations.validate",
}


@dataclass(frozen=True)
class OperationState:
    """The state of an operation.

    Attributes:
        operation_id: id of its Airflow run.
        kind: the kind of operation.
        status: QUEUED, RUNNING, SUCCESS or FAILED.
        result: return values of its steps, merged in their order, after it succeeded.
        failed_steps: the steps that failed.
    """

    operation_id: str
    kind: OperationKind
    status: str
    result: Mapping[str, Any] = field(default_factory=dict)
    failed_steps: tuple[str, ...] = ()

    @property
    def ended(self) -> bool:
        """Whether the state is final."""
        return self.status in {"SUCCESS", "FAILED"}


_STATUS = {"queued": "QUEUED", "running": "RUNNING", "success": "SUCCESS", "failed": "FAILED"}


class Operations:
    """Starts platform DAGs and reads their state."""

    def __init__(self, airflow: AirflowClient, catalog: Catalog) -> None:
        self._airflow = airflow
        self._catalog = catalog

    async def run_operation(
        self, kind: OperationKind, *, about: str, values: Mapping[str, object], seconds: float
    ) -> OperationState:
        """Start an operation and wait for at most `seconds` until it has ended.

        Raises:
            PipelineUnavailableError: its DAG is paused or missing.
            OperationFailedError: it ended without success.
        """
        operation_id = await self.start_operation(kind, about=about, values=values)
        state = await self.wait_for(operation_id, seconds=seconds)
        if state.status == "FAILED":
            steps = ", ".join(state.failed_steps) or "a step"
            raise OperationFailedError(
                f"The operation failed at {steps}; Airflow's log of {operation_id} has the reason.",
                operation_id=operation_id,
            )
        return state

    async def start_operation(
        self, kind: OperationKind, *, about: str, values: Mapping[str, object]
    ) -> str:
        """Trigger the operation's DAG.

        Args:
            kind: which operation.
            about: the org's slug or `platform`, for readers of the list of runs.
            values: the DAG's params; undeclared ones are left out.

        Returns:
            The operation's id.

        Raises:
            PipelineUnavailableError: its DAG is paused or missing.
        """
        dag_id = DAG_IDS[kind]
        state = await self._airflow.get_dag(dag_id)
        if state.is_paused or state.is_stale or state.has_import_errors:
            reason = "paused" if state.is_paused else "stale"
            raise PipelineUnavailableError(f"The pipeline {dag_id} is {reason}.", reason=reason)
        spec = await run_in_threadpool(self._catalog.get_by_dag_id, dag_id)
        conf = {name: value for name, value in values.items() if name in spec.params}
        stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%S}"
        parts = (kind.value, about, stamp, secrets.token_hex(4))
        run = await self._airflow.trigger_run(dag_id, dag_run_id=_SEPARATOR.join(parts), conf=conf)
        return run.dag_run_id

    async def wait_for(self, operation_id: str, *, seconds: float) -> OperationState:
        """Poll an operation until it has ended or `seconds` have passed."""
        deadline = time.monotonic() + seconds
        pause = _FIRST_POLL_SECONDS
        while True:
            state = await self.get_state(operation_id)
            if state.ended or time.monotonic() + pause > deadline:
                return state
            await asyncio.sleep(pause)
            pause = min(pause * 1.3, _MAX_POLL_SECONDS)

    async def get_state(self, operation_id: str) -> OperationState:
        """Return the present state of an operation.

        Raises:
            NotFoundError: no operation has this id.
        """
        kind = _parse_kind(operation_id)
        run = await self._airflow.get_run(DAG_IDS[kind], operation_id)
        if run is None:
            raise NotFoundError("no such operation", operation_id=operation_id)
        status = _STATUS.get(run.state, "RUNNING")
        result = await self._merge_results(run) if status == "SUCCESS" else {}
        failed = await self._list_failed_steps(run) if status == "FAILED" else ()
        return OperationState(operation_id, kind, status, result, failed)

    async def _merge_results(self, run: DagRun) -> dict[str, Any]:
        pipeline = await run_in_threadpool(self._catalog.get_by_dag_id, run.dag_id)
        merged: dict[str, Any] = {}
        for step in pipeline.steps:
            result = await self._airflow.get_task_result(run.dag_id, run.dag_run_id, step.step)
            if isinstance(result, dict):
                merged |= result
        return merged

    async def _list_failed_steps(self, run: DagRun) -> tuple[str, ...]:
        states = await self._airflow.list_task_states(run.dag_id, run.dag_run_id)
        return tuple(sorted(task for task, state in states.items() if state == "failed"))


def _parse_kind(operation_id: str) -> OperationKind:
    try:
        return OperationKind(operation_id.partition(_SEPARATOR)[0])
    except ValueError:
        raise NotFoundError("no such operation", operation_id=operation_id) from None
