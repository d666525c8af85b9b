"""One job under one id, driven to its end: sent again, found again, waited for, stopped."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from google.api_core import exceptions as google_errors
from google.api_core.retry import Retry
from google.cloud import bigquery

from convergence.errors import WarehouseError, WarehouseUnavailableError
from convergence.warehouse.bigquery_errors import (
    EDGE_ERRORS,
    SLOW_REASONS,
    is_passing,
    is_passing_reason,
    is_worth_a_call,
    translate_error,
    translate_job_error,
    translated_errors,
)
from convergence.warehouse.client import Job, Warehouse
from convergence.warehouse.counting import count_job

log = logging.getLogger(__name__)

MAX_JOBS: Final = 20
"""Job ids tried for one content in one run, over all attempts at it."""
MAX_FAILURES: Final = 3
"""Jobs that one call starts and sees fail for a passing reason."""
_SUBMITS: Final = 3
_DETAILS: Final = 5


@dataclass(frozen=True, slots=True)
class JobOutcome:
    """A job that ended well.

    Attributes:
        job_id: its id, with the attempt at the end.
        rows: rows it wrote.
        started_at: UTC.
        ended_at: UTC, whole milliseconds as BigQuery tells it.
        reused: whether an earlier call had started it.
    """

    job_id: str
    rows: int
    started_at: datetime
    ended_at: datetime
    reused: bool


def run_job(
    w: Warehouse,
    *,
    base: str,
    target: str,
    submit: Callable[[str], Job],
    rows_of: Callable[[Job], int],
    still_stands: Callable[[JobOutcome], bool],
) -> JobOutcome:
    """Run the job `{base}_{n}` for the first `n` that can still be had, and give its outcome.

    An id can be used once: one that exists is waited for and its outcome taken, if what it wrote
    still stands; one that failed, or whose work was overwritten, makes way for the next.

    Args:
        w: the warehouse.
        base: job id without its attempt.
        target: the partition that the job writes, for errors.
        submit: starts the job under an id.
        rows_of: rows that a finished job wrote.
        still_stands: whether an earlier call's job is still the last word on what it wrote.

    Raises:
        WarehouseError: BigQuery refuses the job for good; facts hold reason and job id.
        WarehouseUnavailableError: passing reasons, after every retry.
    """
    failures = 0
    for number in range(MAX_JOBS):
        job_id = f"{base}_{number}"
        job, reused = _start(w, job_id, submit)
        _wait(w, job)
        if job.error_result:
            if not reused:
                count_job(job)
                failures += 1
                _raise_unless_worth_another(w, job, failures, target=target)
            log.info("Job %s had failed: %s", job_id, job.error_result.get("reason"))
            continue
        outcome = _outcome(job, rows_of, reused=reused)
        if not reused:
            count_job(job, rows=outcome.rows)
        if not reused or still_stands(outcome):
            return outcome
        log.info("What job %s wrote was overwritten since; writing it again", job_id)
    raise WarehouseError(
        "Every job id of this content has been used", target=target, job_id=f"{base}_*"
    )


def _start(w: Warehouse, job_id: str, submit: Callable[[str], Job]) -> tuple[Job, bool]:
    """The job under this id, and whether an earlier call had started it."""
    for attempt in range(1, _SUBMITS + 1):
        try:
            return submit(job_id), False
        except google_errors.Conflict:
            return _existing(w, job_id), True
        except EDGE_ERRORS as error:
            if not is_passing(error) or attempt == _SUBMITS:
                raise translate_error(error, doing="starting a job", job_id=job_id) from error
            # Whether it was started is unknown: the same id tells.
            log.info("Starting job %s again: %s", job_id, error)
            w.timeouts.sleep(min(2.0**attempt, 8.0))
    raise AssertionError  # the loop returns or raises


def _existing(w: Warehouse, job_id: str) -> Job:
    with translated_errors("finding a job", job_id=job_id):
        job = w.client.get_job(
            job_id, location=w.location, retry=_patient(w), timeout=w.timeouts.call
        )
    if not isinstance(job, bigquery.LoadJob | bigquery.QueryJob):
        raise WarehouseError("The job under this id is of another kind", job_id=job_id)
    return job


def _patient(w: Warehouse) -> Retry:
    # A job that answered 409 can be "not found" for a moment (python-bigquery issue 2134).
    return Retry(
        predicate=lambda error: isinstance(error, google_errors.NotFound) or is_worth_a_call(error),
        initial=0.2,
        maximum=5.0,
        timeout=w.timeouts.retry,
    )


def _wait(w: Warehouse, job: Job) -> None:
    """Return when the job is done, well or not."""
    began = reported = w.timeouts.clock()
    pause = 0.1
    with w.under_way(job):
        while job.state != "DONE":
            w.timeouts.sleep(pause)
            pause = min(pause * 1.6, w.timeouts.poll)
            with translated_errors("waiting for a job", job_id=job.job_id):
                job.reload(**w.call)
            now = w.timeouts.clock()
            if job.state != "DONE" and now - began > w.timeouts.job:
                w.cancel(job)
                raise WarehouseUnavailableError(
                    "The job did not end in time and was stopped",
                    job_id=job.job_id,
                    seconds=round(now - began),
                )
            if now - reported >= w.timeouts.report:
                reported = now
                log.info("Job %s is %s after %.0f s", job.job_id, job.state, now - began)


def _raise_unless_worth_another(w: Warehouse, job: Job, failures: int, *, target: str) -> None:
    result = job.error_result or {}
    reason = result.get("reason", "")
    passing = is_passing_reason(reason, result.get("message", ""))
    if passing and reason not in SLOW_REASONS and failures < MAX_FAILURES:
        w.timeouts.sleep(min(2.0**failures, 8.0))
        return
    details = [entry.get("message", "") for entry in (job.errors or [])[:_DETAILS]]
    raise translate_job_error(
        result,
        doing="running a job",
        target=target,
        job_id=job.job_id,
        details=details or None,
    )


def _outcome(job: Job, rows_of: Callable[[Job], int], *, reused: bool) -> JobOutcome:
    if job.started is None or job.ended is None:
        raise WarehouseError("A finished job without times", job_id=job.job_id)
    with translated_errors("reading a job's result", job_id=job.job_id):
        rows = rows_of(job)
    return JobOutcome(
        job_id=job.job_id,
        rows=rows,
        started_at=job.started,
        ended_at=job.ended,
        reused=reused,
    )
