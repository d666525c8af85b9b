"""jobs.query and jobs.getQueryResults: run a query and page through what it gives.

https://cloud.google.com/bigquery/docs/reference/rest/v2/jobs/query
"""

from __future__ import annotations

from dataclasses import dataclass

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from convergence_sandbox.bigquery.errors import not_implemented
from convergence_sandbox.bigquery.rest.jobs.intake import Intake
from convergence_sandbox.bigquery.rest.jobs.job import Job, JobKey, now_ms
from convergence_sandbox.bigquery.rest.jobs.reader import Page, ResultReader
from convergence_sandbox.bigquery.rest.jobs.runner import JobRunner
from convergence_sandbox.bigquery.rest.jobs.store import JobStore
from convergence_sandbox.bigquery.rest.wire import (
    Json,
    as_count,
    body_json,
    count,
    flag,
    make_token,
    read_token,
    reject_unknown,
    reply,
)

RESPONSE_MS = 10_000  # BigQuery's default for timeoutMs
MAX_RESPONSE_MS = 200_000
REQUEST_WINDOW_MS = 15 * 60 * 1000  # how long a requestId is remembered

# Fields of QueryRequest that are fields of the job's own configuration.
JOB_LEVEL = ("dryRun", "labels", "jobTimeoutMs", "maxSlots", "reservation")
REQUEST_LEVEL = (
    "arrowSerializationOptions",
    "formatOptions",
    "jobCreationMode",
    "kind",
    "location",
    "maxResults",
    "queryResultsFormat",
    "requestId",
    "timeoutMs",
    "writeIncrementalResults",
)
FORMAT_OPTIONS = ("useInt64Timestamp",)
ROW_FORMATS = {None, "QUERY_RESULTS_FORMAT_UNSPECIFIED", "STRUCT_ENCODING"}


@dataclass(frozen=True)
class QueryOptions:
    """Which rows the caller wants, and how long it waits for them."""

    page: Page
    wait_ms: int


class QueryRoutes:
    """The HTTP side of queries."""

    def __init__(
        self, *, intake: Intake, runner: JobRunner, store: JobStore, reader: ResultReader
    ) -> None:
        self._intake = intake
        self._runner = runner
        self._store = store
        self._reader = reader

    def routes(self) -> list[Route]:
        """Everything under `/projects/{project}/queries`."""
        return [
            Route("/projects/{project}/queries", self.query, methods=["POST"]),
            Route("/projects/{project}/queries/{job}", self.results, methods=["GET"]),
        ]

    async def query(self, request: Request) -> Response:
        """Run a query; return its first page, or a reference to the running job."""
        body = await body_json(request)
        project = request.path_params["project"]
        query = _read_options(body)
        job = await self._job(body, project=project)
        if not job.done:
            job = await self._runner.wait(job.key, seconds=query.wait_ms / 1000)
        response = {
            "kind": "bigquery#queryResponse",
            **await self._response(job, query.page),
        }
        optional = body.get("jobCreationMode") == "JOB_CREATION_OPTIONAL"
        if job.key.job_id:
            reason = "OTHER" if optional else "REQUESTED"
            response |= {"queryId": job.key.job_id, "jobCreationReason": {"code": reason}}
        return reply(response)

    async def results(self, request: Request) -> Response:
        """Return a page of a query's rows, as soon as there are any."""
        params = request.query_params
        job = await run_in_threadpool(
            self._runner.get,
            request.path_params["project"],
            request.path_params["job"],
            location=params.get("location"),
        )
        if job.kind != "query":
            raise not_implemented(f"jobs.getQueryResults of a {job.kind} job")
        token = params.get("pageToken")
        start = read_token(token)["start"] if token else count(request, "startIndex")
        page = Page(
            start=int(start or 0),
            size=count(request, "maxResults"),
            int64_timestamps=flag(request, "formatOptions.useInt64Timestamp"),
        )
        wait = count(request, "timeoutMs")
        if not job.done:
            seconds = _bounded(RESPONSE_MS if wait is None else wait) / 1000
            job = await self._runner.wait(job.key, seconds=seconds)
        response = await self._response(job, page)
        return reply({"kind": "bigquery#getQueryResultsResponse", "etag": str(job.key), **response})

    async def _job(self, body: Json, *, project: str) -> Job:
        request_id = body.get("requestId") or None
        if request_id:
            since = now_ms() - REQUEST_WINDOW_MS
            earlier = await run_in_threadpool(
                self._store.by_request, project, request_id, since_ms=since
            )
            if earlier is not None:
                return earlier
        return await run_in_threadpool(
            self._intake.accept, _resource(body), project=project, request_id=request_id
        )

    async def _response(self, job: Job, page: Page) -> Json:
        """Return the fields of a job that both methods share.

        Raises:
            BigQueryError: the job has failed; its error becomes the response's.
        """
        failure = job.failure()
        if failure is not None:
            raise failure
        response: Json = {"jobReference": _reference(job.key), "jobComplete": job.done}
        if not job.done:
            return response
        statistics = job.statistics.get("query", {})
        response |= {
            "cacheHit": False,
            "location": job.key.location,
            "creationTime": str(job.created_ms),
            "startTime": str(job.started_ms),
            "endTime": str(job.ended_ms),
        }
        for name in (
            "totalBytesProcessed",
            "totalBytesBilled",
            "totalSlotMs",
            "statementType",
            "numDmlAffectedRows",
            "dmlStats",
        ):
            if name in statistics:
                response[name] = statistics[name]
        if job.configuration.get("dryRun"):
            return response | {"schema": statistics["schema"], "totalRows": "0"}
        schema, rows, total = await run_in_threadpool(self._reader.read, job, page)
        response |= {"schema": schema, "totalRows": str(total)}
        if page.size != 0:
            response["rows"] = rows
        following = page.start + len(rows)
        if following < total and (rows or page.size == 0):
            response["pageToken"] = make_token(start=following)
        return response


def _reference(key: JobKey) -> Json:
    reference = key.reference()
    if not key.job_id:
        del reference["jobId"]
    return reference


def _resource(body: Json) -> Json:
    """Return the job that a QueryRequest stands for."""
    query = {
        name: value for name, value in body.items() if name not in {*JOB_LEVEL, *REQUEST_LEVEL}
    }
    outer = {name: body[name] for name in JOB_LEVEL if name in body}
    reference = {"location": body["location"]} if body.get("location") else {}
    return {"jobReference": reference, "configuration": {**outer, "query": query}}


def _read_options(body: Json) -> QueryOptions:
    if body.get("queryResultsFormat") not in ROW_FORMATS:
        raise not_implemented(f"queryResultsFormat {body['queryResultsFormat']}")
    options = body.get("formatOptions") or {}
    reject_unknown(options, FORMAT_OPTIONS, where="formatOptions")
    wait = as_count(body.get("timeoutMs"), name="timeoutMs")
    page = Page(
        start=0,
        size=as_count(body.get("maxResults"), name="maxResults"),
        int64_timestamps=bool(options.get("useInt64Timestamp")),
    )
    return QueryOptions(page=page, wait_ms=_bounded(RESPONSE_MS if wait is None else wait))


def _bounded(wait_ms: int) -> int:
    return min(wait_ms, MAX_RESPONSE_MS)
