"""Start waiting runs: due schedules join the queue, and its entries start as slots become free.

The API and the platform's minute task run the same code, each with its own orchestrator. An entry
that is started twice is one run, because the run's ids follow from the entry's id.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from convergence.errors import (
    ConvergenceError,
    LimitError,
    PipelineUnavailableError,
    RequestError,
    RetryableError,
)
from convergence.runs import records
from convergence.runs.admission import admit_run, require_enabled
from convergence.runs.eligibility import Eligibility
from convergence.runs.records import RunRecords
from convergence.state import org_runs, pipeline_configs
from convergence.state.leases import hold_lease
from convergence.state.org_runs import OrgRun, RunError, RunStatus, org_run_id
from convergence.state.pipeline_configs import PipelineConfig
from convergence.state.queueing import queue, queue_log
from convergence.state.queueing.queued_run import QueuedRun, QueueStatus
from convergence.state.store import StateStore

LEASE = "dispatch"
# For how long a run that was admitted but not submitted is submitted by a later pass.
_UNFINISHED = timedelta(minutes=10)
# Airflow does not show a task which DAGs are broken or stale; it rejects the trigger. Do not try
# such a DAG each minute.
_REJECTION_PAUSE = timedelta(minutes=5)

log = logging.getLogger(__name__)


class Orchestrator(Protocol):
    """The calls of Airflow that dispatching needs."""

    def check_readiness(self, dag_id: str) -> PipelineUnavailableError | None:
        """Return why a run of the DAG would not start now (`runs.readiness`), or None.

        Raises:
            RetryableError: Airflow does not respond.
        """

    def trigger(self, dag_id: str, *, dag_run_id: str, conf: Mapping[str, Any]) -> None:
        """Start a run, unless the one of this id exists.

        Raises:
            RetryableError: it is unknown whether the run was started.
            PipelineUnavailableError: the DAG can't run now; no run was started.
            ConvergenceError: Airflow rejected the run.
        """


class GateKeeper(Protocol):
    """Decides which orgs may run: `runs.eligibility.EligibilityChecker`."""

    def require_eligible(
        self, org_slug: str, *, provider: str | None, now: datetime
    ) -> Eligibility:
        """Return the org's eligibility, or raise why it has none."""


@dataclass(frozen=True)
class DispatchResult:
    """The number of entries by what one pass did with them."""

    due: int = 0
    started: int = 0
    waiting: int = 0
    failed: int = 0


@dataclass(frozen=True)
class Dispatcher:
    """Starts entries of the queue; one process at a time runs a pass."""

    store: StateStore
    gate: GateKeeper
    orchestrator: Orchestrator

    def dispatch_runs(self, *, now: datetime, org_slug: str | None = None) -> DispatchResult:
        """Run one pass over the queue of one org, or of all orgs.

        Raises:
            RequestInFlightError: another process runs a pass.
        """
        with hold_lease(self.store, LEASE):
            due = self._enqueue_due_configs(now) if org_slug is None else 0
            self._resume_runs(now)
            return self._start_waiting(now, org_slug=org_slug, due=due)

    def _enqueue_due_configs(self, now: datetime) -> int:
        with self.store.read() as conn:
            configs = pipeline_configs.list_due_configs(conn, now=now)
        return sum(self._enqueue_due(config, now) for config in configs)

    def _enqueue_due(self, config: PipelineConfig, now: datetime) -> bool:
        """Queue a due run and set its next due time, in one transaction.

        Several missed due times become one run.
        """
        with self.store.begin() as conn:
            upcoming = compute_next_time(config.schedule or "", config.timezone, after=now)
            if not pipeline_configs.advance_schedule(conn, config, next_due_at=upcoming):
                return False
            entry = QueuedRun(
                org_slug=config.org_slug,
                pipeline_id=config.pipeline_id,
                dag_id=config.dag_id,
                provider=config.provider,
                requested_by="scheduler",
                trigger="schedule",
                enqueued_at=now,
                schedule=config.schedule,
                due_at=config.next_due_at,
            )
            same = config.pipeline_id
            if queue.count_waiting(conn, config.org_slug, pipeline_id=same):
                reason = "a run of this pipeline already waits"
                queue_log.write_skipped(conn, entry, reason=reason, now=now)
                return False
            queue.add_entry(conn, entry)
            return True

    def _resume_runs(self, now: datetime) -> None:
        """Submit runs of a process that died between their admission and their submission."""
        with self.store.read() as conn:
            entries = queue.list_started_since(conn, now - _UNFINISHED)
            runs = {entry.run_id: org_runs.get_run(conn, entry.run_id or "") for entry in entries}
        for run in runs.values():
            if run is None or run.status is not RunStatus.PENDING:
                continue
            try:
                error = self.orchestrator.check_readiness(run.dag_id)
            except RetryableError as unavailable:
                log.warning("a later pass submits %s: %s", run.run_id, unavailable.message)
                return
            if error is None:
                self._submit_run(run, now)
            else:
                self._requeue_run(run, error, now)

    def _start_waiting(self, now: datetime, *, org_slug: str | None, due: int) -> DispatchResult:
        ready = self._ready_dags(org_slug)
        with self.store.read() as conn:
            entries = queue.list_waiting(conn, org_slug=org_slug, dag_ids=ready, now=now)
        full: set[tuple[str, bool]] = set()
        started = failed = 0
        for entry in entries:
            if entry.debited and (entry.org_slug, entry.in_background) in full:
                continue
            outcome = self._after_its_turn(entry, now)
            if outcome is QueueStatus.QUEUED:
                continue
            outcome = outcome or self._start_entry(entry, now)
            started += outcome is QueueStatus.STARTED
            failed += outcome is QueueStatus.FAILED
            if outcome is QueueStatus.QUEUED and entry.debited:
                full |= {(entry.org_slug, entry.in_background), (entry.org_slug, True)}
        with self.store.read() as conn:
            left = queue.count_waiting(conn, org_slug)
        return DispatchResult(due, started, left, failed)

    def _ready_dags(self, org_slug: str | None) -> list[str]:
        """Return the DAGs whose entries may start; set the reason on entries of the others.

        Each DAG is checked once, before any entry is read: entries of a paused pipeline then do
        not use up the limit of entries that one pass reads.
        """
        with self.store.read() as conn:
            dag_ids = queue.list_waiting_dags(conn, org_slug=org_slug)
        ready = []
        for dag_id in dag_ids:
            try:
                error = self.orchestrator.check_readiness(dag_id)
            except RetryableError as unavailable:
                log.warning("a later pass starts the waiting runs: %s", unavailable.message)
                break
            if error is None:
                ready.append(dag_id)
                continue
            with self.store.begin() as conn:
                queue.set_waiting_reason(conn, dag_id, reason=error.message, org_slug=org_slug)
        return ready

    def _after_its_turn(self, entry: QueuedRun, now: datetime) -> QueueStatus | None:
        """Check the run that the entry follows.

        Returns:
            None where the entry may start; QUEUED while that run has not ended; FAILED where it
            did not succeed.
        """
        if entry.follows is None:
            return None
        with self.store.read() as conn:
            before = queue.get_entry(conn, entry.follows)
            run = org_runs.get_run(conn, before.run_id or "") if before else None
        if before is None or (run is not None and run.status is RunStatus.SUCCESS):
            return None
        waits = before.status is QueueStatus.QUEUED or (run is not None and run.is_live)
        verb = "has not succeeded yet" if waits else "did not succeed"
        status = QueueStatus.QUEUED if waits else QueueStatus.FAILED
        return self._settle_entry(
            entry, status, now, reason=f"the run before it, {before.pipeline_id}, {verb}"
        )

    def _start_entry(self, entry: QueuedRun, now: datetime) -> QueueStatus | None:
        """Check, admit and submit an entry's run.

        Returns:
            STARTED; FAILED with the reason; QUEUED where no slot is free; None where Airflow
            rejected the run and the entry waits again.
        """
        try:
            eligibility = self.gate.require_eligible(
                entry.org_slug, provider=entry.provider, now=now
            )
            with self.store.read() as conn:
                config = pipeline_configs.get_config(conn, entry.org_slug, entry.pipeline_id)
            run = _build_queued_run(entry, now, settings=require_enabled(config))
        except RetryableError:
            raise
        except RequestError as error:
            return self._settle_entry(entry, QueueStatus.FAILED, now, reason=error.message)
        try:
            with self.store.begin() as conn:
                admit_run(
                    conn,
                    run,
                    eligibility=eligibility,
                    now=now,
                    in_background=entry.in_background,
                )
                # One transaction: an admitted run and a waiting entry would start twice.
                queue.settle_entry(
                    conn, entry.queue_id, QueueStatus.STARTED, now=now, run_id=run.run_id
                )
        except LimitError as error:
            return self._settle_entry(entry, QueueStatus.QUEUED, now, reason=error.message)
        return QueueStatus.STARTED if self._submit_run(run, now) else None

    def _submit_run(self, run: OrgRun, now: datetime) -> bool:
        """Submit a run to the orchestrator; return False where its entry waits again.

        A run that is rejected permanently ends. Where the outcome is unknown, a later pass
        submits the run again.
        """
        run_records = RunRecords(self.store)
        try:
            conf = {"org_run_id": run.run_id}
            self.orchestrator.trigger(run.dag_id, dag_run_id=run.dag_run_id, conf=conf)
        except RetryableError as error:
            log.warning("a later pass submits %s: %s", run.run_id, error.message)
        except PipelineUnavailableError as error:
            self._requeue_run(run, error, now)
            return False
        except ConvergenceError as error:
            reason = RunError(error.code, error.message)
            run_records.reject_run(run.run_id, now=datetime.now(UTC), error=reason)
        else:
            run_records.mark_queued(run.run_id, now=datetime.now(UTC))
        return True

    def _requeue_run(self, run: OrgRun, error: PipelineUnavailableError, now: datetime) -> None:
        """Free the slot and the debit of a run that did not start; let its entry wait again."""
        with self.store.begin() as conn:
            if records.withdraw_run(conn, run, now=now, reason=RunError(error.code, error.message)):
                queue.requeue_entry(
                    conn,
                    run.dag_run_id,
                    reason=error.message,
                    now=now,
                    not_before=now + _REJECTION_PAUSE,
                )

    def _settle_entry(
        self, entry: QueuedRun, status: QueueStatus, now: datetime, *, reason: str
    ) -> QueueStatus:
        with self.store.begin() as conn:
            queue.settle_entry(conn, entry.queue_id, status, now=now, reason=reason)
        return status


def compute_next_time(schedule: str, timezone: str | None, *, after: datetime) -> datetime:
    """Return the first due time of a schedule after an instant, in UTC.

    Args:
        schedule: five cron fields or a preset such as `@daily`.
        timezone: IANA name of the schedule's zone; None is UTC.
        after: aware.
    """
    from croniter import croniter

    local = after.astimezone(ZoneInfo(timezone or "UTC"))
    cron = schedule.replace("@quarterly", "0 0 1 */3 *")  # the one preset that croniter lacks
    found: datetime = croniter(cron, local).get_next(datetime)
    return found.astimezone(UTC)


def _build_queued_run(entry: QueuedRun, now: datetime, *, settings: Mapping[str, Any]) -> OrgRun:
    return OrgRun(
        run_id=org_run_id(entry.dag_id, entry.dag_run_id, entry.org_slug),
        org_slug=entry.org_slug,
        pipeline_id=entry.pipeline_id,
        dag_id=entry.dag_id,
        dag_run_id=entry.dag_run_id,
        trigger=entry.trigger,
        requested_by=entry.requested_by,
        created_at=now,
        status=RunStatus.PENDING,
        days=entry.days,
        params={**settings, **entry.params},
        request_id=entry.request_id,
        debited=entry.debited,
    )
