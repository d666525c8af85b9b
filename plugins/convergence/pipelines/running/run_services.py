"""The services that the first and the last task of a run use: run records, gate, step records."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import date, datetime

from convergence.errors import ConvergenceError
from convergence.pipelines.running.acceptance import audit_acceptance
from convergence.processors.batch import build_run_error
from convergence.processors.context import TaskServices
from convergence.runs import admission
from convergence.runs.eligibility import Eligibility, EligibilityChecker
from convergence.runs.records import RunRecords
from convergence.state import org_runs, pipeline_configs
from convergence.state.org_runs import OrgRun, RunError, RunStatus
from convergence.state.org_steps import OrgStep, StepStatus
from convergence.state.pipeline_configs import PipelineConfig
from convergence.state.slots import SlotTaken
from convergence.tenants.audit import Actor
from convergence.tenants.shipping import ship_outbox

log = logging.getLogger(__name__)


class RunServices:
    """The run records and the gate of one task, over its `Services`."""

    def __init__(self, services: TaskServices) -> None:
        self._services = services
        self._records = RunRecords(services.store)

    @property
    def gate(self) -> EligibilityChecker:
        """Return the checker that decides which orgs are eligible."""
        return EligibilityChecker(self._services.warehouse)

    def get(self, run_id: str) -> OrgRun | None:
        """Return the run, or None if it is unknown."""
        with self._services.store.read() as conn:
            return org_runs.get_run(conn, run_id)

    def list_configs(self, pipeline_id: str) -> Mapping[str, PipelineConfig]:
        """Return the orgs' configurations of the pipeline, by org."""
        with self._services.store.read() as conn:
            return pipeline_configs.list_for_pipeline(conn, pipeline_id)

    def of_dag_run(self, dag_id: str, dag_run_id: str) -> Sequence[OrgRun]:
        """Return the org runs of an Airflow run, by org."""
        with self._services.store.read() as conn:
            return org_runs.list_for_dag_run(conn, dag_id, dag_run_id)

    def list_steps(self, run_id: str) -> Mapping[str, OrgStep]:
        """Return the newest attempt at each started step, by step."""
        return self._services.steps.list_steps(run_id)

    def admit_run(self, run: OrgRun, *, eligibility: Eligibility, now: datetime) -> SlotTaken:
        """Admit a run within the limits of its org."""
        with self._services.store.begin() as conn:
            taken = admission.admit_run(conn, run, eligibility=eligibility, now=now)
            if not taken.taken_before:
                by = Actor("system", run.dag_run_id or run.run_id)
                audit_acceptance(conn, run, by=by, now=now)
            return taken

    def begin_run(self, run_id: str, *, now: datetime, days: Sequence[date] | None = None) -> bool:
        """Move a run to RUNNING, also one that had failed."""
        return self._records.begin_run(run_id, now=now, days=days)

    def finish_run(
        self, run_id: str, status: RunStatus, *, now: datetime, error: RunError | None = None
    ) -> bool:
        """End a run."""
        return self._records.finish_run(run_id, status, now=now, error=error)

    def finish_step(
        self, step: OrgStep, *, status: StepStatus, now: datetime, error: RunError | None = None
    ) -> bool:
        """Record the end of a step."""
        return self._services.steps.record_end(step, status=status, now=now, error=error)

    def ship_records(self) -> None:
        """Send the records to the warehouse; a later run sends those that fail now."""
        try:
            ship_outbox(self._services.store, self._services.warehouse)
        except ConvergenceError as error:
            log.warning("A later run will send the records: %s", build_run_error(error).message)
