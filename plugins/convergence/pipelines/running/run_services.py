"""The run records, the gate and the provider registry, as the first and last task use them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import date, datetime

from convergence.errors import ConvergenceError
from convergence.processors.batch import explain
from convergence.processors.context import Services
from convergence.runs.eligibility import EligibilityChecker
from convergence.runs.records import RunRecords
from convergence.state import org_runs, pipeline_configs
from convergence.state.org_runs import OrgRun, RunError, RunStatus
from convergence.state.org_steps import OrgStep, StepStatus
from convergence.state.pipeline_configs import PipelineConfig
from convergence.state.slots import Admitted, Refused, RunLimits
from convergence.tenants.shipping import ship

log = logging.getLogger(__name__)


class RunServices:
    """What selecting and closing do with the records of one task's services."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._records = RunRecords(services.store)

    @property
    def gate(self) -> EligibilityChecker:
        """Who may run."""
        return EligibilityChecker(self._services.warehouse)

    def get(self, run_id: str) -> OrgRun | None:
        """The run, if it is known."""
        with self._services.store.read() as conn:
            return org_runs.get(conn, run_id)

    def configs(self, pipeline_id: str) -> Mapping[str, PipelineConfig]:
        """Each org's own configuration of the pipeline, by org."""
        with self._services.store.read() as conn:
            return pipeline_configs.for_pipeline(conn, pipeline_id)

    def of_dag_run(self, dag_id: str, dag_run_id: str) -> Sequence[OrgRun]:
        """The org runs that the Airflow run carries, by org."""
        with self._services.store.read() as conn:
            return org_runs.by_dag_run(conn, dag_id, dag_run_id)

    def steps(self, run_id: str) -> Mapping[str, OrgStep]:
        """The newest attempt at each step that has begun."""
        return self._services.steps.steps(run_id)

    def admit(self, run: OrgRun, *, limits: RunLimits, now: datetime) -> Admitted | Refused:
        """Admit a run within its org's limits."""
        return self._records.admit(run, limits=limits, now=now)

    def begin_run(self, run_id: str, *, now: datetime, days: Sequence[date] | None = None) -> bool:
        """Move a run to RUNNING; take a failed one up again."""
        return self._records.begin_run(run_id, now=now, days=days)

    def finish_run(
        self, run_id: str, status: RunStatus, *, now: datetime, error: RunError | None = None
    ) -> bool:
        """End a run."""
        return self._records.finish_run(run_id, status, now=now, error=error)

    def finished(
        self, step: OrgStep, *, status: StepStatus, now: datetime, error: RunError | None = None
    ) -> bool:
        """Record the end of a step."""
        return self._services.steps.finished(step, status=status, now=now, error=error)

    def ship(self) -> None:
        """Send the records to the warehouse; what can't be sent now goes with a later run."""
        try:
            ship(self._services.store, self._services.warehouse)
        except ConvergenceError as error:
            log.warning("the records wait for a later run: %s", explain(error).message)
