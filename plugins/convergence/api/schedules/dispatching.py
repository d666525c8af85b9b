"""Starting the runs that wait in the queue, from an API process."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import partial
from typing import Any

import anyio.from_thread
from starlette.concurrency import run_in_threadpool

from convergence.api.http.services import ApiServices
from convergence.errors import PipelineUnavailableError
from convergence.runs.dispatch import Dispatcher, DispatchResult


class ClientOrchestrator:
    """Airflow for a thread of the API: calls go through the pooled client of its event loop."""

    def __init__(self, services: ApiServices) -> None:
        self._services = services

    def check_readiness(self, dag_id: str) -> PipelineUnavailableError | None:
        """Return why a run of the DAG would not start now, None when it would."""
        return anyio.from_thread.run(self._services.check_dag, dag_id)

    def trigger(self, dag_id: str, *, dag_run_id: str, conf: Mapping[str, Any]) -> None:
        """Start a run, unless a run of this id exists."""
        start = partial(
            self._services.airflow.trigger_run, dag_id, dag_run_id=dag_run_id, conf=conf
        )
        try:
            anyio.from_thread.run(start)
        except PipelineUnavailableError:
            self._services.forget_dag(dag_id)
            raise


async def process_queue(services: ApiServices, org_slug: str, *, now: datetime) -> DispatchResult:
    """Start the org's entries for which the plan has a free slot.

    Raises:
        RequestInFlightError: another process is processing the queue.
    """
    dispatcher = Dispatcher(services.store, services.gate, ClientOrchestrator(services))
    return await run_in_threadpool(dispatcher.dispatch_runs, now=now, org_slug=org_slug)
