"""Calls that are a platform DAG: start it, wait for a while, answer with what it found.

An operation's id is the id of its Airflow run; it begins with the operation's kind, so that the
id alone leads back to the DAG.
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

_FIRST_LOOK_SECONDS = 0.5
_SLOWEST_LOOK_SECONDS = 2.0
_SEPARATOR = "__"


class Operation(StrEnum):
    """The kinds of operation; the value begins the operation's id."""

    BOOTSTRAP = "bootstrap"
    DRYRUN = "dryrun"
    ONBOARD = "onboard"
    VALIDATE = "validate"


DAG_IDS = {
    Operation.BOOTSTRAP: "setup.initial.onetime_bootstrap",
    Operation.DRYRUN: "setup.organizations.dryrun",
    Operation.ONBOARD: "setup.organizations.onboarding",
    Operation.VALIDATE: "integrations.validate",
}


@dataclass(frozen=True)
class Outcome:
    """How an operation stands.

    Attributes:
        operation_id: where to ask again.
        kind: what was asked for.
        status: QUEUED, RUNNING, SUCCESS or FAILED.
        result: what its steps returned, merged in their order, once it succeeded.
        failed_steps: the steps that failed.
    """

    operation_id: str
    kind: Operation
    status: str
    result: Mapping[str, Any] = field(default_factory=dict)
    failed_steps: tuple[str, ...] = ()

    @property
    def ended(self) -> bool:
        """Whether it will change no more."""
        return self.status in {"SUCCESS", "FAILED"}


_STATUS = {"queued": "QUEUED", "running": "RUNNING", "success": "SUCCESS", "failed": "FAILED"}


class Operations:
    """Starts platform DAGs and reads what became of them."""

    def __init__(self, airflow: AirflowClient, catalog: Catalog) -> None:
        self._airflow = airflow
        self._catalog = catalog

    async def run(
        self, kind: Operation, *, about: str, values: Mapping[str, object], seconds: float
    ) -> Outcome:
        """Start an operation and wait for it, for `seconds` at most.

        Raises:
            PipelineUnavailableError: its DAG is paused or not there.
            OperationFailedError: it ended without success.
        """
        operation_id = await self.start(kind, about=about, values=values)
        outcome = await self.wait(operation_id, seconds=seconds)
        if outcome.status == "FAILED":
            steps = ", ".join(outcome.failed_steps) or "a step"
            raise OperationFailedError(
                f"The operation failed at {steps}; Airflow's log of {operation_id} says why.",
                operation_id=operation_id,
            )
        return outcome

    async def start(self, kind: Operation, *, about: str, values: Mapping[str, object]) -> str:
        """Trigger the operation's DAG.

        Args:
            kind: which operation.
            about: the org's slug or `platform`, for whoever reads the list of runs.
            values: the DAG's params; what it does not declare is left out.

        Returns:
            The operation's id.

        Raises:
            PipelineUnavailableError: its DAG is paused or not there.
        """
        dag_id = DAG_IDS[kind]
        state = await self._airflow.dag(dag_id)
        if state.is_paused or state.is_stale or state.has_import_errors:
            reason = "paused" if state.is_paused else "stale"
            raise PipelineUnavailableError(f"The pipeline {dag_id} is {reason}.", reason=reason)
        spec = await run_in_threadpool(self._catalog.by_dag_id, dag_id)
        conf = {name: value for name, value in values.items() if name in spec.params}
        stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%S}"
        parts = (kind.value, about, stamp, secrets.token_hex(4))
        run = await self._airflow.trigger(dag_id, dag_run_id=_SEPARATOR.join(parts), conf=conf)
        return run.dag_run_id

    async def wait(self, operation_id: str, *, seconds: float) -> Outcome:
        """Follow an operation until it has ended, or for as long as a caller is kept waiting."""
        give_up = time.monotonic() + seconds
        pause = _FIRST_LOOK_SECONDS
        while True:
            outcome = await self.look(operation_id)
            if outcome.ended or time.monotonic() + pause > give_up:
                return outcome
            await asyncio.sleep(pause)
            pause = min(pause * 1.3, _SLOWEST_LOOK_SECONDS)

    async def look(self, operation_id: str) -> Outcome:
        """How the operation stands now.

        Raises:
            NotFoundError: there is none of this id.
        """
        kind = _kind_of(operation_id)
        run = await self._airflow.dag_run(DAG_IDS[kind], operation_id)
        if run is None:
            raise NotFoundError("no such operation", operation_id=operation_id)
        status = _STATUS.get(run.state, "RUNNING")
        result = await self._result(run) if status == "SUCCESS" else {}
        failed = await self._failed_steps(run) if status == "FAILED" else ()
        return Outcome(operation_id, kind, status, result, failed)

    async def _result(self, run: DagRun) -> dict[str, Any]:
        pipeline = await run_in_threadpool(self._catalog.by_dag_id, run.dag_id)
        merged: dict[str, Any] = {}
        for step in pipeline.steps:
            told = await self._airflow.result(run.dag_id, run.dag_run_id, step.step)
            if isinstance(told, dict):
                merged |= told
        return merged

    async def _failed_steps(self, run: DagRun) -> tuple[str, ...]:
        states = await self._airflow.task_states(run.dag_id, run.dag_run_id)
        return tuple(sorted(task for task, state in states.items() if state == "failed"))


def _kind_of(operation_id: str) -> Operation:
    try:
        return Operation(operation_id.partition(_SEPARATOR)[0])
    except ValueError:
        raise NotFoundError("no such operation", operation_id=operation_id) from None
