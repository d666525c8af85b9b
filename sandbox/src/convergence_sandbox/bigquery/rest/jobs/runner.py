"""Runs jobs: takes their id, works them off in threads, keeps how they ended.

A job is written down before it starts and again when it has ended, and only then reported DONE.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
import uuid
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from convergence_sandbox.bigquery.errors import BigQueryError, not_implemented
from convergence_sandbox.bigquery.rest.faults import Fault, Faults, kill_this_process
from convergence_sandbox.bigquery.rest.jobs.execute import JobExecutor, Outcome
from convergence_sandbox.bigquery.rest.jobs.job import Job, JobKey
from convergence_sandbox.bigquery.rest.jobs.results import Results
from convergence_sandbox.bigquery.rest.jobs.statistics import query_statistics
from convergence_sandbox.bigquery.rest.jobs.store import JobStore
from convergence_sandbox.bigquery.rest.jobs.uploads import Uploads
from convergence_sandbox.bigquery.rest.jobs.work import LoadWork, QueryWork, Work, read_work
from convergence_sandbox.bigquery.rest.limits import Limits, mutated_table
from convergence_sandbox.bigquery.rows.result import QueryResult

THREADS = 32
CHILDREN = uuid.UUID("6f1d6b5e-6d0c-4d0c-9c55-0d6cf4bd5f1c")
STOPPED = BigQueryError("Job execution was cancelled.", status=499, reason="stopped")
INTERRUPTED = BigQueryError(
    "The server was stopped while the job ran.", status=503, reason="backendError"
)

_log = logging.getLogger(__name__)


@dataclass
class _Live:
    """A job that has not ended."""

    job: Job
    future: Future[Job]


class JobRunner:
    """Thread-safe. `close` lets what runs come to its end."""

    def __init__(
        self,
        executor: JobExecutor,
        *,
        store: JobStore,
        uploads: Uploads,
        results: Results,
        limits: Limits,
        faults: Faults,
    ) -> None:
        self._executor = executor
        self._store = store
        self._uploads = uploads
        self._results = results
        self._limits = limits
        self._faults = faults
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="job")
        self._lock = threading.Lock()
        self._live: dict[JobKey, _Live] = {}

    def submit(self, job: Job, work: Work) -> None:
        """Take the job's id and put it in line.

        Raises:
            BigQueryError: 409 `duplicate` when the id was used before.
        """
        self._store.insert(job)
        self._begin(job, work)

    def _begin(self, job: Job, work: Work) -> None:
        table = _mutated(job, work)
        try:
            self._limits.enter(table)
        except BigQueryError as error:
            self._end(job.fail(error))
            return
        with self._lock:
            future = self._pool.submit(self._run, job, work)
            self._live[job.key] = _Live(job, future)
        future.add_done_callback(lambda _: self._limits.leave(table))

    def get(self, project: str, job_id: str, *, location: str | None) -> Job:
        """Return the job as it stands.

        Raises:
            BigQueryError: 404 `notFound`.
        """
        job = self._store.get(project, job_id, location=location)
        with self._lock:
            live = self._live.get(job.key)
        return live.job if live and not job.done else job

    async def wait(self, key: JobKey, *, seconds: float) -> Job:
        """Return the job once it has ended, or as it stands after `seconds`."""
        with self._lock:
            live = self._live.get(key)
        if live is not None:
            await asyncio.wait({asyncio.wrap_future(live.future)}, timeout=seconds)
        return self.get(key.project, key.job_id, location=key.location)

    def cancel(self, key: JobKey) -> None:
        """Stop a job that still waits for its turn; one that runs goes on to its end."""
        with self._lock:
            live = self._live.get(key)
        if live is not None and live.future.cancel():
            self._end(live.job.fail(STOPPED))

    def recover(self) -> None:
        """Bring to their end the jobs that a stop or a kill left behind.

        What was not committed runs again, once: a job that brings the server down must not do so
        at every start. Committed work is reported as done, so that nothing is doubled; a script
        that was struck between two statements has failed.
        """
        for job in self._store.unfinished():
            work = read_work(job.configuration, project=job.key.project)
            if self._executor.was_committed(job):
                media = self._uploads.path(job.media) if job.media else None
                outcome = self._executor.recall(work, job=job, media=media)
                self._end(job.succeed(outcome.statistics) if outcome else job.fail(INTERRUPTED))
            elif job.started_ms is not None:
                self._end(job.fail(INTERRUPTED))
            else:
                self._store.update(job.start())
                self._begin(job, work)

    def close(self, *, seconds: float) -> bool:
        """Let what runs come to its end; false when it did not within `seconds`.

        What still waits in line is left for the next start.
        """
        self._pool.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            running = [live.future for live in self._live.values()]
        return not wait(running, timeout=seconds).not_done

    def _run(self, job: Job, work: Work) -> Job:
        job = job.start()
        with self._lock:
            self._live[job.key].job = job
        outcome: Outcome | None = None
        try:
            fault = self._strike(job, work)
            media = self._uploads.path(job.media) if job.media else None
            outcome = self._executor.run(work, job=job, media=media)
            if fault and fault.action == "kill_before_done":
                kill_this_process()
            job = job.succeed(outcome.statistics, warnings=outcome.warnings)
        except BigQueryError as error:
            job = job.fail(error)
        except Exception as exc:  # noqa: BLE001  # whatever it is, the job must end
            # A defect here must not look like an outage: clients retry those for minutes.
            _log.exception("job %s", job.key)
            job = job.fail(not_implemented(f"this job: {type(exc).__name__}: {exc}"))
        return self._end(job, result=outcome.result if outcome else None)

    def _strike(self, job: Job, work: Work) -> Fault | None:
        """Let a fault on request hold or fail the job, and the day's quota reject it."""
        target = work.target
        fault = self._faults.for_job(job, table=str(target.table) if target else "")
        if fault and fault.action == "hold_job":
            time.sleep(fault.seconds)
        elif fault and fault.action == "fail_job":
            raise fault.error
        if isinstance(work, LoadWork):
            self._limits.count_load(work.target.table, day=datetime.now(UTC).date())
        return fault

    def _end(self, job: Job, *, result: QueryResult | None = None) -> Job:
        if result is not None:
            self._results.keep(job.key, result)
            self._keep_children(job, result)
        self._store.update(replace(job, media=None))
        with self._lock:
            self._live.pop(job.key, None)
        if job.media:
            self._uploads.discard(job.media)
        return job

    def _keep_children(self, job: Job, result: QueryResult) -> None:
        """The statements of a script are jobs of their own, found by their parent."""
        for number, child in enumerate(result.child_results):
            job_id = f"script_job_{uuid.uuid5(CHILDREN, str(job.key)).hex}_{number}"
            configuration = {"query": {"query": child.sql, "useLegacySql": False}}
            one = replace(
                job,
                key=replace(job.key, job_id=job_id),
                configuration=configuration,
                parent_id=job.key.job_id,
                request_id=None,
            ).succeed(query_statistics(child))
            self._store.insert(one)
            self._results.keep(one.key, child)


def _mutated(job: Job, work: Work) -> str | None:
    if not isinstance(work, QueryWork):
        return None
    dataset = work.default_dataset
    return mutated_table(
        work.sql,
        project=dataset[0] if dataset else job.key.project,
        dataset=dataset[1] if dataset else None,
    )
