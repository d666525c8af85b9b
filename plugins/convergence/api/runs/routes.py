"""Routes of an organization's runs."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Query
from fastapi.responses import JSONResponse

from convergence.api.http.dependencies import (
    ActorDep,
    IdempotentCallDep,
    ServicesDep,
    UrlBuilderDep,
)
from convergence.api.http.responses import build_result, respond
from convergence.api.http.routing import guarded_router
from convergence.api.http.scopes import Scope, WhenSuspended, require_scope
from convergence.api.runs.models import RunDetail, RunPage
from convergence.api.runs.reading import OrgRuns
from convergence.state.org_runs import RunStatus

router = guarded_router(prefix="/pipelines/runs", tag="runs")

MAX_PAGE = 200


async def _get_runs(
    services: ServicesDep, actor: ActorDep, build_url: UrlBuilderDep, org: str
) -> OrgRuns:
    runs_url = build_url(f"/pipelines/runs/{org}")
    return OrgRuns(services, org_slug=org, by=actor, runs_url=runs_url)


OrgRunsDep = Annotated[OrgRuns, Depends(_get_runs)]


@router.get(
    "/{org}", operation_id="list_runs", summary="List runs", response_model_exclude_none=True
)
@require_scope(Scope.PIPELINES_READ)
def list_runs(
    runs: OrgRunsDep,
    *,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE, description="Runs per page.")] = 50,
    cursor: Annotated[
        str | None, Query(max_length=200, description="`next_cursor` of the previous page.")
    ] = None,
    status: Annotated[
        list[RunStatus] | None, Query(description="Only runs of these states.")
    ] = None,
    pipeline_id: Annotated[
        str | None, Query(max_length=100, description="Only runs of this pipeline.")
    ] = None,
) -> RunPage:
    """Return scheduled and triggered runs of the organization, newest first."""
    return runs.list_page(
        limit=limit, cursor=cursor, statuses=status or [], pipeline_id=pipeline_id
    )


@router.get(
    "/{org}/{run_id}",
    operation_id="get_run",
    summary="Get a run with its steps",
    response_model_exclude_none=True,
)
@require_scope(Scope.PIPELINES_READ)
async def get_run(runs: OrgRunsDep, run_id: str) -> RunDetail:
    """Return the run's status, steps, rows and tables, and the reason when it failed."""
    return await runs.get_detail(run_id)


@router.post(
    "/{org}/{run_id}/cancel",
    operation_id="cancel_run",
    summary="Cancel a run",
    response_model=RunDetail,
)
@require_scope(Scope.PIPELINES_RUN, when_suspended=WhenSuspended.SERVED)
async def cancel_run(runs: OrgRunsDep, call: IdempotentCallDep, run_id: str) -> JSONResponse:
    """End the organization's run; of a scheduled run, only the organization's part."""
    async with call.claim_async({"call": "cancel", "run_id": run_id}) as claim:
        if claim.is_new:
            claim.complete(build_result(await runs.cancel_run(run_id)))
    return respond(claim.result)
