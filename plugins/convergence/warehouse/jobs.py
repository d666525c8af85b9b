"""Run one job to its end: submit it under an id, find it again, wait for it, cancel it."""

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
"""Maximum number of job ids for one content in one run, over all attempts."""
MAX_FAILURES: Final = 3
"""Maximum number of temporary failures of jobs that one call starts."""
_MAX_SUBMITS: Final = 3
_MAX_DETAILS: Final = 5


@dataclass(frozen=True, slots=True)
class JobOutcome:
    """A job that succeeded.

    Attributes:
        job_id: its id, with the attempt at the end.
        rows: number of written rows.
        started_at: UTC.
        ended_at: UTC, in the whole milliseconds that BigQuery reports.
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
    """Run the job `{base}_{n}` with the first usable `n`, and return its outcome.

    BigQuery accepts a job id once. If the job of an id exists, this waits for it and returns its
    outcome, provided that its rows are still in place. If it failed, or its rows were overwritten,
    the next id is used.

    Args:
        w: the warehouse.
        base: the job id without the attempt.
        target: the partition that the job writes, for error messages.
        submit: starts the job under an id.
        rows_of: returns the number of rows that a finished job wrote.
        still_stands: returns whether the rows of an earlier call's job are still in place.

    Raises:
        WarehouseError: BigQuery rejects the job for good; the details have reason and job id.
        WarehouseUnavailableError: a temporary failure, after every retry.
    """
    failures = 0
    for number in range(MAX_JOBS):
        job_id = f"{base}_{number}"
        job, reused = _start_job(w, job_id, submit)
        _wait_for_job(w, job)
        if job.error_result:
            if not reused:
                count_job(job)
                failures += 1
                _raise_unless_retryable(w, job, failures, target=target)
            log.info("Job %s had failed: %s", job_id, job.error_result.get("reason"))
            continue
        outcome = _build_outcome(job, rows_of, reused=reused)
        if not reused:
            count_job(job, rows=outcome.rows)
        if not reused or still_stands(outcome):
            return outcome
        log.info("The rows of job %s were overwritten since; writing them again", job_id)
    raise WarehouseError(
        "Every job id of this content has been used", target=target, job_id=f"{base}_*"
    )


def _start_job(w: Warehouse, job_id: str, submit: Callable[[str], Job]) -> tuple[Job, bool]:
    """Start the job, or find it; return it and whether an earlier call had started it."""
    for attempt in range(1, _MAX_SUBMITS + 1):
        try:
            return submit(job_id), False
        except google_errors.Conflict:
            return _find_job(w, job_id), True
        except EDGE_ERRORS as error:
            if not is_passing(error) or attempt == _MAX_SUBMITS:
                raise translate_error(error, doing="starting a job", job_id=job_id) from error
            # The job may have started. The same id makes the next attempt safe: it gets a 409.
            log.info("Starting job %s again: %s", job_id, error)
            w.timeouts.sleep(min(2.0**attempt, 8.0))
    raise AssertionError  # the loop returns or raises


def _find_job(w: Warehouse, job_id: str) -> Job:
    with translated_errors("finding a job", job_id=job_id):
        job = w.client.get_job(
            job_id, location=w.location, retry=_retry_not_found(w), timeout=w.timeouts.call
        )
    if not isinstance(job, bigquery.LoadJob | bigquery.QueryJob):
        raise WarehouseError("The job with this id is of another kind", job_id=job_id)
    return job


def _retry_not_found(w: Warehouse) -> Retry:
    # After a 409 the job can be "not found" for a moment (python-bigquery issue 2134).
    return Retry(
        predicate=lambda error: isinstance(error, google_errors.NotFound) or is_worth_a_call(error),
        initial=0.2,
        maximum=5.0,
        timeout=w.timeouts.retry,
    )


def _wait_for_job(w: Warehouse, job: Job) -> None:
    """Wait until the job is done, successfully or not."""
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


def _raise_unless_retryable(w: Warehouse, job: Job, failures: int, *, target: str) -> None:
    result = job.error_result or {}
    reason = result.get("reason", "")
    passing = is_passing_reason(reason, result.get("message", ""))
    if passing and reason not in SLOW_REASONS and failures < MAX_FAILURES:
        w.timeouts.sleep(min(2.0**failures, 8.0))
        return
    details = [entry.get("message", "") for entry in (job.errors or [])[:_MAX_DETAILS]]
    raise translate_job_error(
        result,
        doing="running a job",
        target=target,
        job_id=job.job_id,
        details=details or None,
    )


def _build_outcome(job: Job, rows_of: Callable[[Job], int], *, reused: bool) -> JobOutcome:
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
