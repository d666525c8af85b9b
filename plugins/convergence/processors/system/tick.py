"""`system.tick`: what must happen every minute, whether or not an API process is up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from convergence.errors import RequestInFlightError
from convergence.processors.base import PlatformProcessor
from convergence.processors.context import PlatformContext, StepResult
from convergence.processors.system.config import TickConfig


class Tick(PlatformProcessor[TickConfig]):
    """Each part is safe to repeat and to run at the same time as in an API process."""

    Config = TickConfig

    def run_step(
        self, platform: PlatformContext, config: TickConfig, params: Mapping[str, Any]
    ) -> StepResult:
        """Dispatch due runs; return the due, started, waiting and failed entries, and closed runs.

        Raises:
            StateUnavailableError, WarehouseUnavailableError: the next minute tries again.
        """
        from convergence.processors.system.airflow_runs import TaskOrchestrator
        from convergence.runs.dispatch import Dispatcher, DispatchResult
        from convergence.runs.eligibility import EligibilityChecker
        from convergence.runs.records import RunRecords
        from convergence.state.retention import prune_store
        from convergence.tenants.shipping import ship_outbox

        del config, params  # it has none
        store, airflow, now = platform.store, TaskOrchestrator(), platform.now()
        dispatcher = Dispatcher(store, EligibilityChecker(platform.warehouse), airflow)
        try:
            dispatched = dispatcher.dispatch_runs(now=now)
        except RequestInFlightError:
            # An API process is at it, and does the same.
            dispatched = DispatchResult()
        records = RunRecords(store)
        closed = records.close_dangling(airflow.state_of, now=now)
        for run in closed:
            platform.log.warning("%s was left open and is now %s", run.run_id, run.status)
        shipped = ship_outbox(store, platform.warehouse)
        prune_store(store, now=now)
        details = {**asdict(dispatched), "runs_closed": len(closed)}
        return StepResult(rows_processed=shipped, details=details)
