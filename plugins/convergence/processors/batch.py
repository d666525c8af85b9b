"""Run one step for the orgs of one mapped index, side by side, each on its own.

The rules of a retry live here. One org alone: its failure fails the task. Several: every org is
tried; while tries remain and a failure is worth another, the task fails and its next try does
only what is not recorded as done; on the last try failures are recorded and the others go on.

An automatic retry continues the work of the try before it. A task that a person cleared begins
its work again: for all orgs if all had succeeded, otherwise for those that had not (`tries`).
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
from convergence.processors.context import OrgContext, PipelineFacts, Services, StepResult
from convergence.processors.tries import begun, keep_done, was_cleared
from convergence.security.redaction import redact
from convergence.state.org_runs import RunError, RunStatus
from convergence.state.org_steps import OrgStep, StepStatus

MAX_ORGS_AT_ONCE = 8

BLOCKED = "upstream_failed"
CANCELLED = "cancelled"
INTERRUPTED = "interrupted"


class OrgSlice(NamedTuple):
    """One org of a batch."""

    org_slug: str
    run_id: str
    days: tuple[date, ...]


@dataclass(frozen=True, slots=True)
class Batch:
    """The orgs of one mapped index; `label` is what Airflow's UI shows for it."""

    label: str
    runs: tuple[OrgSlice, ...]

    @classmethod
    def load(cls, values: Mapping[str, Any]) -> Self:
        """Read what `dump` wrote."""
        runs = tuple(
            OrgSlice(run["org_slug"], run["run_id"], tuple(map(date.fromisoformat, run["days"])))
            for run in values["runs"]
        )
        return cls(values["label"], runs)

    def dump(self) -> dict[str, Any]:
        """JSON for XCom."""
        runs = [
            {
                "org_slug": run.org_slug,
                "run_id": run.run_id,
                "days": [day.isoformat() for day in run.days],
            }
            for run in self.runs
        ]
        return {"label": self.label, "runs": runs}


class Outcome(NamedTuple):
    """How a step ended for one org."""

    org_slug: str
    result: StepResult
    error: RunError | None = None
    worth_retrying: bool = False

    @property
    def failed(self) -> bool:
        """Whether the org's step failed."""
        return self.result.status == "FAILED"


@dataclass(frozen=True, kw_only=True)
class StepRun:
    """One try of one step: who does the work, and for which task.

    Attributes:
        work: the processor's work for one org.
        attempt: the task's try number.
        max_tries: of the task, as Airflow has it now.
        timeout: the longest that a try may take; None for no limit.
        derived: whether a cleared task looks at the inputs of every org again.
        stop: set when the task is being killed.
    """

    step: str
    processor: str
    pipeline: PipelineFacts
    services: Services
    attempt: int
    max_tries: int
    work: Callable[[OrgContext], StepResult]
    stop: threading.Event
    log: logging.Logger
    timeout: timedelta | None = None
    derived: bool = False
    _began: float = field(default_factory=time.monotonic)

    def run(self, batch: Batch) -> list[Outcome]:
        """Try every org of the batch; the outcomes are in the batch's order."""
        if not self.derived:
            keep_done(self.services.steps, batch, step=self.step, max_tries=self.max_tries)
        if len(batch.runs) == 1:
            return [self._one(batch.runs[0])]
        pool = ThreadPoolExecutor(min(MAX_ORGS_AT_ONCE, len(batch.runs)), self.step)
        try:
            futures = [pool.submit(self._one, run) for run in batch.runs]
            self._watch(futures)
            return [future.result() for future in futures]
        finally:
            # A task that timed out or is being killed must not wait for work it gave up.
            pool.shutdown(wait=False, cancel_futures=True)

    def _watch(self, futures: Sequence[Future[Outcome]]) -> None:
        pending, done = set(futures), 0
        tenth = max(1, len(futures) // 10)
        while pending:
            finished, pending = wait(pending, return_when=FIRST_COMPLETED)
            before, done = done, done + len(finished)
            if before // tenth != done // tenth or not pending:
                failed = sum(future.result().failed for future in futures if future.done())
                self.log.info("%d of %d orgs done, %d failed", done, len(futures), failed)

    def _one(self, org: OrgSlice) -> Outcome:
        log = _OrgLog(self.log, {"org": org.org_slug})
        steps = self.services.steps.steps(org.run_id)
        previous = steps.get(self.step)
        cleared = was_cleared(previous, max_tries=self.max_tries)
        if previous is not None and previous.status is StepStatus.SUCCESS and not cleared:
            log.info("done by try %d already", previous.attempt)
            return Outcome(org.org_slug, _recorded(previous))
        record = begun(
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
        if not self.services.steps.started(record):
            return self._overtaken(org)
        if cleared and self.services.steps.reopen_run(org.run_id, now=self.services.now()):
            log.info("the task was cleared: its run is taken up again")
        context = self._context(org, record, previous, log)
        with metered(self._labels(org)) as meter:
            outcome = self._refusal(org, steps) or self._attempt(context, log)
        if not self._record(record, outcome, used=meter.used):
            return self._overtaken(org)
        if not outcome.failed:
            shutil.rmtree(context.spool_root, ignore_errors=True)
        return outcome

    def _overtaken(self, org: OrgSlice) -> Outcome:
        """The outcome of a try whose record belongs to a newer one."""
        return _failure(org.org_slug, INTERRUPTED, "a newer try of this task has begun", retry=True)

    def _labels(self, org: OrgSlice) -> dict[str, str]:
        """Of the step's queries; those that publish have the same and more."""
        return {"org": org.org_slug, "pipeline": self.pipeline.pipeline_id, "run": org.run_id}

    def _refusal(self, org: OrgSlice, steps: Mapping[str, OrgStep]) -> Outcome | None:
        """Why the work must not begin, if so."""
        if self.stop.is_set():
            return _failure(org.org_slug, INTERRUPTED, "the task was stopped", retry=True)
        run = self.services.steps.run(org.run_id)
        if run is not None and run.status is RunStatus.CANCELLED:
            return _skipped(org.org_slug, CANCELLED, "the run was cancelled")
        for name in self.pipeline.upstream.get(self.step, ()):
            upstream = steps.get(name)
            if upstream is None or not _lets_pass(upstream):
                return _skipped(org.org_slug, BLOCKED, f"{name} did not succeed")
        return None

    def _attempt(self, context: OrgContext, log: _OrgLog) -> Outcome:
        try:
            result = self.work(context)
        except Exception as error:  # noqa: BLE001  # one org's failure is its own, whatever it is
            return self._explained(context.org_slug, error, log)
        log.info("%s", result.status)
        return Outcome(context.org_slug, result)

    def _context(
        self, org: OrgSlice, record: OrgStep, previous: OrgStep | None, log: _OrgLog
    ) -> OrgContext:
        run = self.services.steps.run(org.run_id)
        return OrgContext(
            org_slug=org.org_slug,
            run_id=org.run_id,
            pipeline=self.pipeline,
            step=self.step,
            days=org.days,
            params=run_conf.with_defaults(run.params if run else {}, pipeline=self.pipeline),
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

    def _explained(self, org_slug: str, error: Exception, log: _OrgLog) -> Outcome:
        failure = explain(error)
        log.error("failed: %s: %s", failure.code, failure.message)
        log_unforeseen(error, log)
        report = error.report if isinstance(error, ReportedError) else {}
        result = StepResult(status="FAILED", facts=report)
        return Outcome(org_slug, result, failure, worth_retrying(error))

    def _record(self, record: OrgStep, outcome: Outcome, *, used: Used) -> bool:
        return self.services.steps.finished(
            record,
            status=StepStatus(outcome.result.status),
            now=self.services.now(),
            rows_processed=outcome.result.rows_processed,
            destination_table=outcome.result.destination_table,
            error=outcome.error,
            result=outcome.result.answer(),
            used=used,
        )


def explain(error: BaseException) -> RunError:
    """An error as a run record shows it: its code and a redacted message."""
    if isinstance(error, ConvergenceError):
        return RunError(error.code, redact(str(error)))
    return RunError("internal", redact(f"{type(error).__name__}: {error}"))


def worth_retrying(error: BaseException) -> bool:
    """Whether another try may succeed: what is passing, and what nobody foresaw."""
    return isinstance(error, RetryableError) or not isinstance(error, ConvergenceError)


def log_unforeseen(
    error: Exception, log: logging.Logger | logging.LoggerAdapter[logging.Logger]
) -> None:
    """Log the traceback, redacted, of an error that nobody raised on purpose."""
    if not isinstance(error, ConvergenceError):
        log.error("%s", redact("".join(traceback.format_exception(error))))


class _OrgLog(logging.LoggerAdapter[logging.Logger]):
    def process(self, msg: str, kwargs: Any) -> tuple[str, Any]:  # noqa: ANN401  # logging's own
        org = self.extra["org"] if self.extra else ""
        return f"[{org}] {msg}", kwargs


def _lets_pass(step: OrgStep) -> bool:
    if step.status is StepStatus.SKIPPED:
        return step.error is None
    return step.status is StepStatus.SUCCESS


def _recorded(step: OrgStep) -> StepResult:
    facts = dict(step.result or {})
    for known in ("status", "rows_processed", "destination_table"):
        facts.pop(known, None)
    return StepResult(
        rows_processed=step.rows_processed, destination_table=step.destination_table, facts=facts
    )


def _failure(org_slug: str, code: str, message: str, *, retry: bool = False) -> Outcome:
    return Outcome(org_slug, StepResult(status="FAILED"), RunError(code, message), retry)


def _skipped(org_slug: str, code: str, message: str) -> Outcome:
    return Outcome(org_slug, StepResult(status="SKIPPED"), RunError(code, message))
