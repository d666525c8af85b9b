"""The BigQuery stand-in over HTTP: the routes of the v2 REST API that are covered, and no others.

Every caller has access, except to customers' projects (see `customers`); project ids are
open-ended. Every error is in BigQuery's form, and none is a 500, which clients retry for minutes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.types import Receive, Scope, Send

from convergence_sandbox.bigquery.engine import Engine
from convergence_sandbox.bigquery.errors import BigQueryError, not_implemented
from convergence_sandbox.bigquery.rest.admin import AdminRoutes
from convergence_sandbox.bigquery.rest.customers import BillingExports, CustomerProjects
from convergence_sandbox.bigquery.rest.datasets import DatasetRoutes
from convergence_sandbox.bigquery.rest.faults import FaultMiddleware, Faults
from convergence_sandbox.bigquery.rest.jobs.execute import JobExecutor
from convergence_sandbox.bigquery.rest.jobs.intake import Intake
from convergence_sandbox.bigquery.rest.jobs.queries import QueryRoutes
from convergence_sandbox.bigquery.rest.jobs.reader import ResultReader
from convergence_sandbox.bigquery.rest.jobs.results import Results
from convergence_sandbox.bigquery.rest.jobs.routes import JobRoutes, UploadRoutes
from convergence_sandbox.bigquery.rest.jobs.runner import JobRunner
from convergence_sandbox.bigquery.rest.jobs.store import JobStore
from convergence_sandbox.bigquery.rest.jobs.uploads import Uploads
from convergence_sandbox.bigquery.rest.limits import Limits, LimitSettings
from convergence_sandbox.bigquery.rest.storage_read import StorageRead
from convergence_sandbox.bigquery.rest.tables import TableRoutes
from convergence_sandbox.bigquery.rest.wire import error_reply


@dataclass(frozen=True)
class Options:
    """What a test or an operator may set; `sandbox.settings` says what each means."""

    limits: LimitSettings = field(default_factory=LimitSettings)
    response_seconds: float = 10.0
    streaming_buffer: bool = False


class BigQueryApp:
    """The ASGI application and what it holds open.

    Args:
        data_dir: holds `bigquery.duckdb`, `jobs.sqlite` and `uploads/`.
        options: limits and waiting times.
    """

    def __init__(self, data_dir: Path, *, options: Options | None = None) -> None:
        options = options or Options()
        data_dir.mkdir(parents=True, exist_ok=True)
        self._engine = Engine(
            data_dir / "bigquery.duckdb", streaming_buffer=options.streaming_buffer
        )
        self._store = JobStore(data_dir / "jobs.sqlite")
        uploads, results = Uploads(data_dir / "uploads"), Results()
        self.storage_read = StorageRead(results)
        faults, limits = Faults(), Limits(options.limits)
        executor = JobExecutor(self._engine)
        self._runner = JobRunner(
            executor,
            store=self._store,
            uploads=uploads,
            results=results,
            limits=limits,
            faults=faults,
        )
        self._runner.recover()
        uploads.sweep()
        intake = Intake(self._engine, executor=executor, runner=self._runner)
        jobs = JobRoutes(
            intake=intake,
            runner=self._runner,
            store=self._store,
            results=results,
            response_seconds=options.response_seconds,
        )
        queries = QueryRoutes(
            intake=intake,
            runner=self._runner,
            store=self._store,
            reader=ResultReader(self._engine, results=results),
        )
        api: list[Route] = [
            *DatasetRoutes(self._engine).routes(),
            *TableRoutes(self._engine).routes(),
            *jobs.routes(),
            *queries.routes(),
        ]
        upload = UploadRoutes(jobs, uploads=uploads, store=self._store)
        app = FaultMiddleware(
            Starlette(
                routes=[
                    *AdminRoutes(faults=faults, limits=limits).routes(),
                    *BillingExports(self._engine).routes(),
                    Mount("/bigquery/v2", routes=api),
                    Mount("/upload/bigquery/v2", routes=upload.routes()),
                    Mount("/resumable/upload/bigquery/v2", routes=upload.routes()),
                ],
                exception_handlers=dict.fromkeys(
                    (BigQueryError, HTTPException, Exception), _send_error
                ),
            ),
            faults=faults,
        )
        self._app = CustomerProjects(app)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        await self._app(scope, receive, send)

    def close(self, *, seconds: float = 3.0) -> None:
        """Let running jobs end, then give the files back; a job cut off runs again later."""
        if self._runner.close(seconds=seconds):
            self._store.close()
            self._engine.close()


async def _send_error(request: Request, exc: Exception) -> Response:
    """Return an error in BigQuery's form; a defect of this server is a 501, not an outage."""
    if isinstance(exc, BigQueryError):
        return error_reply(exc)
    where = f"{request.method} {request.url.path}"
    if isinstance(exc, HTTPException) and exc.status_code in {404, 405}:
        # BigQuery may know the method, this server does not.
        return error_reply(not_implemented(where))
    if isinstance(exc, HTTPException):
        return error_reply(BigQueryError(str(exc.detail), status=exc.status_code, reason="invalid"))
    return error_reply(not_implemented(f"this {where}: {type(exc).__name__}: {exc}"))
