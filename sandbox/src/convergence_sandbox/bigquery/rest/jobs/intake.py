"""From a job resource that someone sent to a job in line: identity, location, checks."""

from __future__ import annotations

import re
import secrets
from contextlib import suppress
from dataclasses import replace

from convergence_sandbox.bigquery.engine import Engine
from convergence_sandbox.bigquery.errors import BigQueryError, invalid, not_found
from convergence_sandbox.bigquery.resources.model import DatasetMeta
from convergence_sandbox.bigquery.rest.jobs.execute import JobExecutor
from convergence_sandbox.bigquery.rest.jobs.job import Job, JobKey, canonical_location
from convergence_sandbox.bigquery.rest.jobs.runner import JobRunner
from convergence_sandbox.bigquery.rest.jobs.statistics import query_statistics
from convergence_sandbox.bigquery.rest.jobs.work import (
    LoadWork,
    QueryWork,
    Work,
    kind_of,
    read_work,
)
from convergence_sandbox.bigquery.rest.wire import Json, as_object, reject_unknown

DEFAULT_LOCATION = "US"

_JOB_ID = re.compile(r"[A-Za-z0-9_-]{1,1024}")
_JOB_FIELDS = ("jobReference", "configuration", "kind", "etag", "id", "selfLink", "statistics")


class Intake:
    """Accepts jobs for the runner."""

    def __init__(self, engine: Engine, *, executor: JobExecutor, runner: JobRunner) -> None:
        self._engine = engine
        self._executor = executor
        self._runner = runner

    def accept(
        self,
        resource: Json,
        *,
        project: str,
        media: str | None = None,
        request_id: str | None = None,
    ) -> Job:
        """Check the job and put it in line; a dry run is returned here, and is no job.

        Args:
            resource: `jobReference` and `configuration`, as jobs.insert takes them.
            project: the project in the URL.
            media: name of the uploaded file, for load jobs.
            request_id: the `requestId` of jobs.query.

        Raises:
            BigQueryError: 400, 404, 409 or 501; a job that is rejected leaves its id free.
        """
        reject_unknown(resource, _JOB_FIELDS, where="")
        configuration = as_object(resource.get("configuration"), name="configuration")
        kind = kind_of(configuration)
        work = read_work(configuration, project=project)
        if isinstance(work, LoadWork) and media is None:
            raise invalid("Load configuration must specify at least one source URI")
        key = self._key(
            as_object(resource.get("jobReference"), name="jobReference"), work, project=project
        )
        job = Job(
            key=key, kind=kind, configuration=configuration, media=media, request_id=request_id
        )
        if configuration.get("dryRun"):
            return self._dry_run(job, work)
        self._runner.submit(job, work)
        return job

    def _key(self, reference: Json, work: Work, *, project: str) -> JobKey:
        if reference.get("projectId", project) != project:
            raise invalid(
                f"Value {reference['projectId']} in content does not agree with {project}"
            )
        job_id = reference.get("jobId") or f"job_{secrets.token_urlsafe(20)}"
        if not _JOB_ID.fullmatch(job_id):
            raise invalid(f'Invalid job ID "{job_id}".', location="jobReference.jobId")
        home, requested_location = self._home(work), canonical_location(reference.get("location"))
        if home is None:
            return JobKey(project, requested_location or DEFAULT_LOCATION, job_id)
        location = canonical_location(home.location) or DEFAULT_LOCATION
        if requested_location not in {None, location}:
            raise not_found("Dataset", f"{home} was not found in location {requested_location}")
        return JobKey(project, location, job_id)

    def _home(self, work: Work) -> DatasetMeta | None:
        """The dataset that says where the job runs, as far as its configuration names one."""
        places = [(work.target.table.project, work.target.table.dataset)] if work.target else []
        if isinstance(work, QueryWork) and work.default_dataset:
            places.append(work.default_dataset)
        for project, dataset in places:
            # That one is missing is for the job itself to say.
            with suppress(BigQueryError):
                return self._engine.get_dataset(project, dataset)
        return None

    def _dry_run(self, job: Job, work: Work) -> Job:
        if not isinstance(work, QueryWork):
            raise invalid("Only query jobs can be run dry.")
        result = self._executor.dry_run(work, project=job.key.project)
        anonymous = replace(job, key=replace(job.key, job_id=""))
        return anonymous.start().succeed(query_statistics(result, dry_run=True))
