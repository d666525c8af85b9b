"""Run one step for the orgs of one mapped index, in parallel and isolated from each other.

The retry rules are here. In a batch of one org, its failure fails the task. In a larger batch every
org is tried. While tries remain and a failure is retryable, the task fails, and its next try
processes only the orgs that are not recorded as done. The last try records the failures, and the
other orgs go on.

An automatic retry continues the work of the try before it. A task that a person cleared starts its
work again: for all orgs if all had succeeded, otherwise for those that had not (`tries`).
"""

from __future__ import annotations

import logging
import math
import shutil
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, NamedTuple, Self

from convergence.errors import ConvergenceError, ReportedError, RetryableError
from convergence.metering import Used, metered
from convergence.processors import run_conf
from convergence.processors.context import OrgContext, PipelineInfo, StepResult, TaskServices
from convergence.processors.tries import keep_succeeded_orgs, set_work_start, was_cleared
from convergence.run_error_codes import RunErrorCode
from convergence.security.redaction import redact
from convergence.state.org_runs import RunError, RunStatus
from convergence.state.org_steps import OrgStep, StepStatus

MAX_PARALLEL_ORGS = 8

BLOCKED = RunErrorCode.UPSTREAM_FAILED
CANCELLED = RunErrorCode.CANCELLED
INTERRUPTED = RunErrorCode.INTERRUPTED


class OrgSlice(NamedTuple):
    """One org of a batch, with its org run and its days."""

    org_slug: str
    run_id: str
    days: tuple[date, ...]


@dataclass(frozen=True, slots=True)
class Batch:
    """The orgs of one mapped index; Airflow's UI shows `label` for it."""

    label: str
    runs: tuple[OrgSlice, ...]

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build a batch from the JSON of `to_dict`."""
        runs = tuple(
            OrgSlice(run["org_slug"], run["run_id"], tuple(map(date.fromisoformat, run["days"])))
            for run in values["runs"]
        )
        return cls(values["label"], runs)

    def to_dict(self) -> dict[str, Any]:
        """Return the batch as JSON for XCom."""
        runs = [
            {
                "org_slug": run.org_slug,
                "run_id": run.run_id,
                "days": [day.isoformat() for day in run.days],
            }
            for run in self.runs
        ]
        return {"label": self.label, "runs": runs}


class OrgOutcome(NamedTuple):
    """Result of a step for one org, and its error if it failed."""

    org_slug: str
    result: StepResult
    error: RunError | None = None
    retryable: bool = False

    @property
    def failed(self) -> bool:
        """Return whether the step failed for the org."""
        return self.result.status == "FAILED"


@dataclass(frozen=True, kw_only=True)
class StepRun:
    """One try of one step.

    Attributes:
        run_org: runs the step for one org.
        attempt: try number of the task.
        max_tries: current `max_tries` of the task.
        timeout: maximum duration of a try; None for no limit.
        derived: whether a cleared task checks the inputs of every org again.
        stop: set when the task is being killed.
    """

    step: str
    processor: str
    pipeline: PipelineInfo
    services: TaskServices
    attempt: int
    max_tries: int
    run_org: Callable[[OrgContext], StepResult]
    stop: threading.Event
    log: logging.Logger
    timeout: timedelta | None = None
    derived: bool = False
    _began: float = field(default_factory=time.monotonic)

    def run_batch(self, batch: Batch) -> list[OrgOutcome]:
        """Run the step for every org of the batch; return the outcomes in the batch's order."""
        if not self.derived:
            keep_succeeded_orgs(
                self.services.steps,
                step=self.step,
                run_ids=[run.run_id for run in batch.runs],
                max_tries=self.max_tries,
            )
        if len(batch.runs) == 1:
            return [self._process_org(batch.runs[0])]
        pool = ThreadPoolExecutor(min(MAX_PARALLEL_ORGS, len(batch.runs)), self.step)
        try:
            futures = [pool.submit(self._process_org, run) for run in batch.runs]
            self._log_progress(futures)
            return [future.result() for future in futures]
        finally:
            # A task that timed out or is being killed must not wait for abandoned work.
            pool.shutdown(wait=False, cancel_futures=True)

    def _log_progress(self, futures: Sequence[Future[OrgOutcome]]) -> None:
        pending, done = set(futures), 0
        tenth = max(1, len(futures) // 10)
        while pending:
            finished, pending = wait(pending, return_when=FIRST_COMPLETED)
            before, done = done, done + len(finished)
            if before // tenth != done // tenth or not pending:
                failed = sum(future.result().failed for future in futures if future.done())
                self.log.info("%d of %d orgs done, %d failed", done, len(futures), failed)

    def _process_org(self, org: OrgSlice) -> OrgOutcome:
        log = _OrgLog(self.log, {"org": org.org_slug})
        steps = self.services.steps.list_steps(org.run_id)
        previous = steps.get(self.step)
        cleared = was_cleared(previous, max_tries=self.max_tries)
        if previous is not None and previous.status is StepStatus.SUCCESS and not cleared:
            log.info("already done by try %d", previous.attempt)
            return OrgOutcome(org.org_slug, _build_recorded_result(previous))
        record = set_work_start(
            OrgStep(
                run_id=org.run_id,
                step=self.step,
                org_slug=org.org_slug,
                processor=self.processor,
                attempt=self.attempt,
                started_at=self.services.now(),
                max_tries=self.max_tries,
            ),
            previous,
            cleared=cleared,
        )
        if not self.services.steps.record_start(record):
            return self._build_superseded(org)
        if cleared and self.services.steps.reopen_run(org.run_id, now=self.services.now()):
            log.info("the task was cleared: its run is reopened")
        context = self._build_context(org, record, previous, log)
        with metered(self._build_labels(org)) as meter:
            outcome = self._find_blocker(org, steps) or self._run_org(context, log)
        if not self._record_end(record, outcome, used=meter.used):
            return self._build_superseded(org)
        if not outcome.failed:
            shutil.rmtree(context.spool_root, ignore_errors=True)
        return outcome

    def _build_superseded(self, org: OrgSlice) -> OrgOutcome:
        """Build the outcome of a try whose step record belongs to a newer try."""
        return _build_failure(
            org.org_slug, INTERRUPTED, "a newer try of this task has started", retry=True
        )

    def _build_labels(self, org: OrgSlice) -> dict[str, str]:
        """Build the labels of the step's queries; publishing queries have further labels."""
        return {"org": org.org_slug, "pipeline": self.pipeline.pipeline_id, "run": org.run_id}

    def _find_blocker(self, org: OrgSlice, steps: Mapping[str, OrgStep]) -> OrgOutcome | None:
        """Return the outcome that keeps the work from starting, or None when it may start."""
        if self.stop.is_set():
            return _build_failure(org.org_slug, INTERRUPTED, "the task was stopped", retry=True)
        run = self.services.steps.get_run(org.run_id)
        if run is not None and run.status is RunStatus.CANCELLED:
            return _build_skipped(org.org_slug, CANCELLED, "the run was cancelled")
        for name in self.pipeline.upstream.get(self.step, ()):
            upstream = steps.get(name)
            if upstream is None or not _unblocks_downstream(upstream):
                return _build_skipped(org.org_slug, BLOCKED, f"{name} did not succeed")
        return None

    def _run_org(self, context: OrgContext, log: _OrgLog) -> OrgOutcome:
        try:
            result = self.run_org(context)
        except Exception as error:  # noqa: BLE001  # the failure of one org must not stop the others
            return self._build_error_outcome(context.org_slug, error, log)
        log.info("%s", result.status)
        return OrgOutcome(context.org_slug, result)

    def _build_context(
        self, org: OrgSlice, record: OrgStep, previous: OrgStep | None, log: _OrgLog
    ) -> OrgContext:
        run = self.services.steps.get_run(org.run_id)
        return OrgContext(
            org_slug=org.org_slug,
            run_id=org.run_id,
            pipeline=self.pipeline,
            step=self.step,
            days=org.days,
            params=run_conf.add_defaults(run.params if run else {}, pipeline=self.pipeline),
            attempt=self.attempt,
            previous=previous,
            began_at=record.began_at,
            resumes=record.began_at != record.started_at,
            cleared=record.cleared,
            deadline=self._deadline,
            services=self.services,
            log=log,
            stop=self.stop,
        )

    @property
    def _deadline(self) -> float:
        return math.inf if self.timeout is None else self._began + self.timeout.total_seconds()

    def _build_error_outcome(self, org_slug: str, error: Exception, log: _OrgLog) -> OrgOutcome:
        run_error = build_run_error(error)
        log.error("failed: %s: %s", run_error.code, run_error.message)
        log_unexpected_error(error, log)
        report = error.report if isinstance(error, ReportedError) else {}
        result = StepResult(status="FAILED", details=report)
        return OrgOutcome(org_slug, result, run_error, is_retryable(error))

    def _record_end(self, record: OrgStep, outcome: OrgOutcome, *, used: Used) -> bool:
        return self.services.steps.record_end(
            record,
            status=StepStatus(outcome.result.status),
            now=self.services.now(),
            rows_processed=outcome.result.rows_processed,
            destination_table=outcome.result.destination_table,
            error=outcome.error,
            result=outcome.result.to_dict(),
            used=used,
        )


def build_run_error(error: BaseException) -> RunError:
    """Return an error as a run record shows it: its code and a redacted message."""
    if isinstance(error, ConvergenceError):
        return RunError(error.code, redact(str(error)))
    return RunError(RunErrorCode.INTERNAL, redact(f"{type(error).__name__}: {error}"))


def is_retryable(error: BaseException) -> bool:
    """Return whether another try may succeed: after a RetryableError or an unexpected error."""
    return isinstance(error, RetryableError) or not isinstance(error, ConvergenceError)


def log_unexpected_error(
    error: Exception, log: logging.Logger | logging.LoggerAdapter[logging.Logger]
) -> None:
    """Log the redacted traceback of an error that is not a ConvergenceError."""
    if not isinstance(error, ConvergenceError):
        log.error("%s", redact("".join(traceback.format_exception(error))))


class _OrgLog(logging.LoggerAdapter[logging.Logger]):
    def process(self, msg: str, kwargs: Any) -> tuple[str, Any]:  # noqa: ANN401  # logging's own
        org = self.extra["org"] if self.extra else ""
        return f"[{org}] {msg}", kwargs


def _unblocks_downstream(step: OrgStep) -> bool:
    """Return whether the steps after this one may run.

    A step that refused lower content has published its other days, and of the refused days the
    content before is still there.
    """
    if step.status is StepStatus.SKIPPED:
        return step.error is None
    refused = step.error is not None and step.error.code == RunErrorCode.WOULD_SHRINK
    return step.status is StepStatus.SUCCESS or refused


def _build_recorded_result(step: OrgStep) -> StepResult:
    details = dict(step.result or {})
    for known in ("status", "rows_processed", "destination_table"):
        details.pop(known, None)
    return StepResult(
        rows_processed=step.rows_processed,
        destination_table=step.destination_table,
        details=details,
    )


def _build_failure(org_slug: str, code: str, message: str, *, retry: bool = False) -> OrgOutcome:
    return OrgOutcome(org_slug, StepResult(status="FAILED"), RunError(code, message), retry)


def _build_skipped(org_slug: str, code: str, message: str) -> OrgOutcome:
    return OrgOutcome(org_slug, StepResult(status="SKIPPED"), RunError(code, message))
