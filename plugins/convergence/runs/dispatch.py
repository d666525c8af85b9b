"""Start what waits: due schedules join the queue, and its entries start as slots become free.

The same code works in an API process and in the platform's minute task; the orchestrator is
handed in. Starting an entry twice starts one run: its ids are made of the entry's own.
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
    PipelineUnavailableError,
    RequestError,
    RetryableError,
)
from convergence.runs import records
from convergence.runs.eligibility import Eligibility
from convergence.runs.records import RunRecords
from convergence.state import org_runs, pipeline_configs, queue, queue_log
from convergence.state.leases import hold_lease
from convergence.state.org_runs import OrgRun, RunError, RunStatus, org_run_id
from convergence.state.pipeline_configs import PipelineConfig
from convergence.state.queued_run import QueuedRun, QueueStatus
from convergence.state.slots import LimitReached, RunLimits
from convergence.state.store import StateStore

LEASE = "dispatch"
# A start that was cut short between admission and hand-over is taken up again for so long.
_UNFINISHED = timedelta(minutes=10)
# Airflow shows a task no broken or stale DAG before its trigger is refused: not each minute then.
_REFUSED_FOR = timedelta(minutes=5)

log = logging.getLogger(__name__)


class Orchestrator(Protocol):
    """Airflow, as this room needs it."""

    def check_readiness(self, dag_id: str) -> PipelineUnavailableError | None:
        """Why a run of the DAG would not start now (`runs.readiness`); None when it would.

        Raises:
            RetryableError: it does not say.
        """

    def trigger(self, dag_id: str, *, dag_run_id: str, conf: Mapping[str, Any]) -> None:
        """Start a run, unless the one of this id exists.

        Raises:
            RetryableError: it can't be told whether it was taken.
            PipelineUnavailableError: the DAG can't run now; no run was started.
            ConvergenceError: it was refused.
        """


class GateKeeper(Protocol):
    """Decides which orgs may run: `runs.eligibility.EligibilityChecker`."""

    def require_eligible(
        self, org_slug: str, *, provider: str | None, now: datetime
    ) -> Eligibility:
        """The org's standing if it may run."""


@dataclass(frozen=True)
class DispatchResult:
    """What one pass did, by number of entries."""

    due: int = 0
    started: int = 0
    waiting: int = 0
    failed: int = 0


@dataclass(frozen=True)
class Dispatcher:
    """Starts entries of the queue; one process at a time does."""

    store: StateStore
    gate: GateKeeper
    orchestrator: Orchestrator

    def dispatch_runs(self, *, now: datetime, org_slug: str | None = None) -> DispatchResult:
        """One pass over the queue, of one org or of all.

        Raises:
            RequestInFlightError: another process is at it.
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
        """Queue a due run and move its schedule on, both or neither; missed times are one run."""
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
                told = "a run of this pipeline waits already"
                queue_log.write_skipped(conn, entry, reason=told, now=now)
                return False
            queue.add_entry(conn, entry)
            return True

    def _resume_runs(self, now: datetime) -> None:
        """Hand over what was admitted by a process that died before it did."""
        with self.store.read() as conn:
            entries = queue.list_started_since(conn, now - _UNFINISHED)
            runs = {entry.run_id: org_runs.get_run(conn, entry.run_id or "") for entry in entries}
        for run in runs.values():
            if run is None or run.status is not RunStatus.PENDING:
                continue
            try:
                error = self.orchestrator.check_readiness(run.dag_id)
            except RetryableError as away:
                log.warning("%s is handed over by a later pass: %s", run.run_id, away.message)
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
        """The DAGs whose entries may start; entries of the others wait with the reason.

        Asked once for each DAG, before any entry: however many entries of a paused pipeline wait,
        they take no place of those that can start.
        """
        with self.store.read() as conn:
            dag_ids = queue.list_waiting_dags(conn, org_slug=org_slug)
        ready = []
        for dag_id in dag_ids:
            try:
                error = self.orchestrator.check_readiness(dag_id)
            except RetryableError as away:
                log.warning("what waits is started by a later pass: %s", away.message)
                break
            if error is None:
                ready.append(dag_id)
                continue
            with self.store.begin() as conn:
                queue.set_waiting_reason(conn, dag_id, reason=error.message, org_slug=org_slug)
        return ready

    def _after_its_turn(self, entry: QueuedRun, now: datetime) -> QueueStatus | None:
        """QUEUED until the run that the entry follows succeeded, FAILED if it did not."""
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
        """STARTED, FAILED with a reason, QUEUED for want of a slot; None when it waits again."""
        try:
            standing = self.gate.require_eligible(entry.org_slug, provider=entry.provider, now=now)
        except RetryableError:
            raise
        except RequestError as error:
            return self._settle_entry(entry, QueueStatus.FAILED, now, reason=error.message)
        with self.store.read() as conn:
            config = pipeline_configs.get_config(conn, entry.org_slug, entry.pipeline_id)
        if config is not None and not config.enabled:
            told = "the organization has switched this pipeline off"
            return self._settle_entry(entry, QueueStatus.FAILED, now, reason=told)
        run = _build_run(entry, now, settings=config.params if config else {})
        assert standing.limits is not None  # noqa: S101 - the gate refuses an org without limits
        limits = _limit_background_runs(standing.limits) if entry.in_background else standing.limits
        with self.store.begin() as conn:
            outcome = records.admit_run(conn, run, limits=limits, now=now)
            if isinstance(outcome, LimitReached):
                told = f"{outcome.use} of {outcome.maximum} {outcome.limit} are used"
                if outcome.maximum < getattr(standing.limits, outcome.limit):
                    told += "; the others are left to the organization's own runs"
                queue.settle_entry(conn, entry.queue_id, QueueStatus.QUEUED, now=now, reason=told)
                return QueueStatus.QUEUED
            queue.settle_entry(
                conn, entry.queue_id, QueueStatus.STARTED, now=now, run_id=run.run_id
            )
        return QueueStatus.STARTED if self._submit_run(run, now) else None

    def _submit_run(self, run: OrgRun, now: datetime) -> bool:
        """Give a run to the orchestrator; False when its entry waits again.

        What it refuses for good ends; what is uncertain comes again.
        """
        book = RunRecords(self.store)
        try:
            conf = {"org_run_id": run.run_id}
            self.orchestrator.trigger(run.dag_id, dag_run_id=run.dag_run_id, conf=conf)
        except RetryableError as error:
            log.warning("%s is handed over by a later pass: %s", run.run_id, error.message)
        except PipelineUnavailableError as error:
            self._requeue_run(run, error, now)
            return False
        except ConvergenceError as error:
            reason = RunError(error.code, error.message)
            book.reject_run(run.run_id, now=datetime.now(UTC), error=reason)
        else:
            book.mark_queued(run.run_id, now=datetime.now(UTC))
        return True

    def _requeue_run(self, run: OrgRun, error: PipelineUnavailableError, now: datetime) -> None:
        """Free the slot and the debit of a run that did not begin; its entry waits again."""
        with self.store.begin() as conn:
            if records.withdraw_run(conn, run, now=now, reason=RunError(error.code, error.message)):
                queue.requeue_entry(
                    conn,
                    run.dag_run_id,
                    reason=error.message,
                    now=now,
                    not_before=now + _REFUSED_FOR,
                )

    def _settle_entry(
        self, entry: QueuedRun, status: QueueStatus, now: datetime, *, reason: str
    ) -> QueueStatus:
        with self.store.begin() as conn:
            queue.settle_entry(conn, entry.queue_id, status, now=now, reason=reason)
        return status


def _limit_background_runs(limits: RunLimits) -> RunLimits:
    """What runs in the background may use of an org's limits.

    One slot at once, and a quarter of the day's and the month's runs, stay free for runs that
    somebody or a schedule asks for.
    """
    return RunLimits(
        runs_per_day=_take_three_quarters(limits.runs_per_day),
        runs_per_month=_take_three_quarters(limits.runs_per_month),
        concurrent_runs=min(limits.concurrent_runs, max(1, limits.concurrent_runs - 1)),
    )


def _take_three_quarters(runs: int) -> int:
    return min(runs, max(1, runs * 3 // 4))


def compute_next_time(schedule: str, timezone: str | None, *, after: datetime) -> datetime:
    """The first instant after `after` at which a schedule comes, in UTC.

    Args:
        schedule: five cron fields or a preset such as `@daily`.
        timezone: IANA name of the zone it is read in; None is UTC.
        after: aware.
    """
    from croniter import croniter

    local = after.astimezone(ZoneInfo(timezone or "UTC"))
    cron = schedule.replace("@quarterly", "0 0 1 */3 *")  # the one preset that croniter lacks
    found: datetime = croniter(cron, local).get_next(datetime)
    return found.astimezone(UTC)


def _build_run(entry: QueuedRun, now: datetime, *, settings: Mapping[str, Any]) -> OrgRun:
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
