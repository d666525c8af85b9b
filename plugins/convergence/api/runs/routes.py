"""An organization's runs."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Request
from fastapi.responses import JSONResponse

from convergence.api.http.idempotency import Answer
from convergence.api.http.responses import actor, idempotency_key, respond, url
from convergence.api.http.routing import guarded_router
from convergence.api.http.scopes import Scope, WhenSuspended, needs
from convergence.api.http.services import services_of
from convergence.api.runs.models import RunDetail, RunPage
from convergence.api.runs.reading import Runs
from convergence.state.org_runs import RunStatus

router = guarded_router(prefix="/pipelines/runs", tag="runs")

PAGE_LIMIT = 200


def _runs(request: Request, org: str) -> Runs:
    runs_url = url(request, f"/pipelines/runs/{org}")
    return Runs(services_of(request), org_slug=org, by=actor(request), runs_url=runs_url)


@router.get("/{org}", summary="Runs, newest first", response_model_exclude_none=True)
@needs(Scope.PIPELINES_READ)
async def runs(
    request: Request,
    *,
    org: str,
    limit: Annotated[int, Query(ge=1, le=PAGE_LIMIT, description="Runs per page.")] = 50,
    cursor: Annotated[
        str | None, Query(max_length=200, description="`next_cursor` of the page before.")
    ] = None,
    status: Annotated[list[RunStatus] | None, Query(description="Only these.")] = None,
    pipeline_id: Annotated[
        str | None, Query(max_length=100, description="Only this pipeline's.")
    ] = None,
) -> RunPage:
    """Scheduled and triggered runs of the organization."""
    return await _runs(request, org).page(
        limit=limit, cursor=cursor, statuses=status or [], pipeline_id=pipeline_id
    )


@router.get("/{org}/{run_id}", summary="One run with its steps", response_model_exclude_none=True)
@needs(Scope.PIPELINES_READ)
async def one_run(request: Request, org: str, run_id: str) -> RunDetail:
    """Status, steps, rows, tables, and the reason when it failed."""
    return await _runs(request, org).detail(run_id)


@router.post("/{org}/{run_id}/cancel", summary="Cancel a run", response_model=RunDetail)
@needs(Scope.PIPELINES_RUN, when_suspended=WhenSuspended.SERVED)
async def cancel(request: Request, org: str, run_id: str) -> JSONResponse:
    """End the organization's run; of a scheduled run only its own part."""

    async def work() -> Answer:
        ended = await _runs(request, org).cancel(run_id)
        return Answer(200, ended.model_dump(mode="json", exclude_none=True))

    told, given = {"call": "cancel", "run_id": run_id}, idempotency_key(request)
    return respond(await services_of(request).once.answer(org, work, given=given, request=told))
