"""jobs.insert, get, list, cancel and delete, and the upload of load jobs.

https://cloud.google.com/bigquery/docs/reference/rest/v2/jobs
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from convergence_sandbox.bigquery.errors import BigQueryError, invalid, not_implemented
from convergence_sandbox.bigquery.rest.jobs.intake import Intake
from convergence_sandbox.bigquery.rest.jobs.job import Job
from convergence_sandbox.bigquery.rest.jobs.results import Results
from convergence_sandbox.bigquery.rest.jobs.runner import JobRunner
from convergence_sandbox.bigquery.rest.jobs.store import JobFilter, JobStore
from convergence_sandbox.bigquery.rest.jobs.uploads import (
    MAX_MULTIPART_BYTES,
    Chunk,
    Uploads,
    split_multipart,
)
from convergence_sandbox.bigquery.rest.wire import (
    Json,
    body_json,
    count,
    make_token,
    read_token,
    reply,
    too_large,
)

LIST_PAGE = 50


class JobRoutes:
    """The HTTP side of jobs."""

    def __init__(
        self,
        *,
        intake: Intake,
        runner: JobRunner,
        store: JobStore,
        results: Results,
        response_seconds: float,
    ) -> None:
        self._intake = intake
        self._runner = runner
        self._store = store
        self._results = results
        self.response_seconds = response_seconds

    def routes(self) -> list[Route]:
        """Everything under `/projects/{project}/jobs`."""
        jobs = "/projects/{project}/jobs"
        return [
            Route(jobs, self.insert, methods=["POST"]),
            Route(jobs, self.listing, methods=["GET"]),
            Route(f"{jobs}/{{job}}", self.get, methods=["GET"]),
            Route(f"{jobs}/{{job}}/cancel", self.cancel, methods=["POST"]),
            Route(f"{jobs}/{{job}}/delete", self.delete, methods=["DELETE"]),
        ]

    async def insert(self, request: Request) -> Response:
        """Start a job that carries no media."""
        resource = await body_json(request)
        job = await self.start(resource, project=request.path_params["project"])
        return reply(job.resource())

    async def start(
        self,
        resource: Json,
        *,
        project: str,
        media: str | None = None,
        request_id: str | None = None,
    ) -> Job:
        """Put the job in line, and give it a while to end before it is returned."""
        job = await run_in_threadpool(
            self._intake.accept, resource, project=project, media=media, request_id=request_id
        )
        return await self.wait(job)

    async def wait(self, job: Job) -> Job:
        """Return the job once it has ended, or as it stands when the caller has waited enough."""
        if job.done:
            return job
        return await self._runner.wait(job.key, seconds=self.response_seconds)

    async def get(self, request: Request) -> Response:
        """Return one job."""
        return reply((await self._job(request)).resource())

    async def listing(self, request: Request) -> Response:
        """Return a page of jobs, newest first; children only by `parentJobId`."""
        params = request.query_params
        token = params.get("pageToken")
        job_filter = JobFilter(
            project=request.path_params["project"],
            parent_id=params.get("parentJobId"),
            states=tuple(state.upper() for state in params.getlist("stateFilter")),
            since_ms=count(request, "minCreationTime"),
            until_ms=count(request, "maxCreationTime"),
            before=int(read_token(token)["before"]) if token else None,
        )
        size = count(request, "maxResults") or LIST_PAGE
        found = await run_in_threadpool(self._store.page, job_filter, size=size)
        response: Json = {
            "kind": "bigquery#jobList",
            "jobs": [_list_item(job, full=params.get("projection") == "full") for _, job in found],
        }
        if len(found) == size:
            response["nextPageToken"] = make_token(before=found[-1][0])
        return reply(response)

    async def cancel(self, request: Request) -> Response:
        """Ask a job to stop; return the job, stopped or not."""
        job = await self._job(request)
        await run_in_threadpool(self._runner.cancel, job.key)
        job = await self._job(request)
        return reply({"kind": "bigquery#jobCancelResponse", "job": job.resource()})

    async def delete(self, request: Request) -> Response:
        """Forget a job that has ended."""
        job = await self._job(request)
        if not job.done:
            raise invalid(f"Job {job.key} is still running.")
        self._results.drop(job.key)
        await run_in_threadpool(self._store.delete, job.key)
        return reply()

    async def _job(self, request: Request) -> Job:
        return await run_in_threadpool(
            self._runner.get,
            request.path_params["project"],
            request.path_params["job"],
            location=request.query_params.get("location"),
        )


class UploadRoutes:
    """The upload side of jobs.insert, under `/upload/bigquery/v2`."""

    def __init__(self, jobs: JobRoutes, *, uploads: Uploads, store: JobStore) -> None:
        self._jobs = jobs
        self._store = store
        self._uploads = uploads

    def routes(self) -> list[Route]:
        """`/projects/{project}/jobs`, distinguished by `uploadType`."""
        path = "/projects/{project}/jobs"
        return [
            Route(path, self.begin, methods=["POST"]),
            Route(path, self.resume, methods=["PUT"]),
        ]

    async def begin(self, request: Request) -> Response:
        """Return a multipart upload, or the start of a resumable one."""
        kind = request.query_params.get("uploadType")
        if kind == "multipart":
            return await self._multipart(request)
        if kind == "resumable":
            return await self._open(request)
        raise not_implemented(f"uploadType {kind}")

    async def _multipart(self, request: Request) -> Response:
        if int(request.headers.get("content-length", 0)) > MAX_MULTIPART_BYTES:
            raise too_large()
        body = await request.body()
        resource, media = split_multipart(request.headers.get("content-type", ""), body)
        name = await run_in_threadpool(self._uploads.keep, media)
        return await self._start(request.path_params["project"], resource, name)

    async def _open(self, request: Request) -> Response:
        project = request.path_params["project"]
        resource = await body_json(request)
        name = await run_in_threadpool(self._uploads.open_session, project=project, job=resource)
        where = request.url.include_query_params(upload_id=name)
        headers = {"location": str(where), "x-guploader-uploadid": name}
        return Response(status_code=200, headers=headers)

    async def resume(self, request: Request) -> Response:
        """Return a chunk of a resumable upload; the last one starts the job."""
        name = request.query_params.get("upload_id", "")
        project, resource = await run_in_threadpool(self._uploads.session, name)
        started = await run_in_threadpool(self._store.by_request, project, _request_id(name))
        if started is not None:
            # The client has lost the response to its last chunk.
            job = await self._jobs.wait(started)
            return reply(job.resource())
        length = request.headers.get("content-length", "0")
        whole = f"bytes 0-{int(length) - 1}/{length}" if int(length) else "bytes */0"
        chunk = Chunk.parse(request.headers.get("content-range", whole))
        if chunk.end is not None:
            await self._uploads.append(name, chunk, _pieces(request))
        if not chunk.final and chunk.total != self._uploads.size(name):
            return self._incomplete(name)
        return await self._start(project, resource, name, request_id=_request_id(name))

    def _incomplete(self, name: str) -> Response:
        size = self._uploads.size(name)
        return Response(status_code=308, headers={"range": f"bytes=0-{size - 1}"} if size else {})

    async def _start(
        self, project: str, resource: Json, name: str, *, request_id: str | None = None
    ) -> Response:
        try:
            job = await self._jobs.start(
                resource, project=project, media=name, request_id=request_id
            )
        except BigQueryError:
            self._uploads.discard(name)
            raise
        return reply(job.resource())


def _request_id(upload: str) -> str:
    return f"upload {upload}"


async def _pieces(request: Request) -> AsyncIterator[bytes]:
    async for piece in request.stream():
        if piece:
            yield piece


def _list_item(job: Job, *, full: bool) -> Json:
    resource = job.resource()
    item = {"state": job.state, **resource}
    if job.error:
        item["errorResult"] = job.error
    if not full:
        item.pop("etag", None)
    return item
