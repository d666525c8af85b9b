"""What can be run, and running it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from convergence.api.http.context import context_of
from convergence.api.http.responses import actor, idempotency_key, respond, url
from convergence.api.http.routing import guarded_router
from convergence.api.http.scopes import Scope, WhenSuspended, needs
from convergence.api.http.services import services_of
from convergence.api.runs.models import (
    PipelineInfo,
    PipelineList,
    RunAccepted,
    RunRequest,
    StepInfo,
)
from convergence.api.runs.triggers import read_trigger, start
from convergence.pipelines.files.spec import PipelineSpec

router = guarded_router(prefix="/pipelines", tag="pipelines")

_RUN: dict[str, Any] = {
    "status_code": 202,
    "response_model": RunAccepted,
    "summary": "Run a pipeline",
    "response_description": "The run was accepted; ask `status_url` how it goes.",
}


@router.get("", summary="Every pipeline that can be run", response_model_exclude_none=True)
@needs(Scope.PIPELINES_READ)
async def pipelines(request: Request) -> PipelineList:
    """The pipelines with their params, as JSON Schema."""
    found = await run_in_threadpool(services_of(request).catalog.runnable)
    return PipelineList(pipelines=[_info(spec) for spec in found])


@router.post("/run/{org}/{provider}/{domain}/{pipeline}", **_RUN)
@needs(Scope.PIPELINES_RUN, when_suspended=WhenSuspended.REFUSED_BY_GATE)
async def run_in_domain(
    request: Request,
    *,
    org: str,
    provider: str,
    domain: str,
    pipeline: str,
    body: RunRequest | None = None,
) -> JSONResponse:
    """Run a pipeline for days by name, or for what is due.

    Equal triggers within a minute are one run, as are those with one `Idempotency-Key`. When
    nothing is due the run is recorded as SUCCESS at once, without days and without cost to the
    quota.
    """
    return await _run(request, org, f"{provider}/{domain}/{pipeline}", body)


@router.post("/run/{org}/{provider}/{pipeline}", **_RUN)
@needs(Scope.PIPELINES_RUN, when_suspended=WhenSuspended.REFUSED_BY_GATE)
async def run(
    request: Request, *, org: str, provider: str, pipeline: str, body: RunRequest | None = None
) -> JSONResponse:
    """The same for a pipeline without a domain, or for an alias of one."""
    return await _run(request, org, f"{provider}/{pipeline}", body)


async def _run(request: Request, org: str, path: str, body: RunRequest | None) -> JSONResponse:
    services = services_of(request)
    given_key = idempotency_key(request)
    spec = await run_in_threadpool(services.catalog.find, path)
    trigger = read_trigger(
        org,
        spec,
        body or RunRequest(),
        context=context_of(request.scope),
        by=actor(request),
        runs_url=url(request, f"/pipelines/runs/{org}"),
        now=datetime.now(UTC),
    )
    return respond(await start(trigger, services=services, given_key=given_key))


def _info(spec: PipelineSpec) -> PipelineInfo:
    return PipelineInfo(
        pipeline_id=spec.pipeline_id,
        path=spec.url_path,
        aliases=list(spec.aliases),
        description=spec.description,
        provider=spec.provider,
        schedule=spec.schedule,
        params=spec.params_schema(),
        steps=[StepInfo(step=step.step, processor=step.processor) for step in spec.steps],
        tables=list(spec.tables),
    )
