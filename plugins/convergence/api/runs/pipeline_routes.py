"""Routes that list pipelines and run them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Depends
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from convergence.api.http.context import RequestContext
from convergence.api.http.dependencies import (
    ActorDep,
    ContextDep,
    IdempotentCallDep,
    ServicesDep,
    UrlBuilderDep,
)
from convergence.api.http.responses import respond
from convergence.api.http.routing import guarded_router
from convergence.api.http.scopes import Scope, WhenSuspended, require_scope
from convergence.api.http.services import ApiServices
from convergence.api.runs.models import (
    PipelineList,
    PipelineSummary,
    RunAccepted,
    RunRequest,
    StepInfo,
)
from convergence.api.runs.triggers import read_trigger, start_run
from convergence.pipelines.files.spec import PipelineSpec
from convergence.tenants.audit import Actor

router = guarded_router(prefix="/pipelines", tag="pipelines")

_RUN: dict[str, Any] = {
    "status_code": 202,
    "response_model": RunAccepted,
    "response_description": "The run was accepted; `status_url` returns its state.",
}


@dataclass(frozen=True)
class PipelineStarter:
    """Starts pipelines for the caller of one request."""

    services: ApiServices
    context: RequestContext
    by: Actor
    org: str
    runs_url: str
    key: str | None

    async def start_pipeline(self, path: str, body: RunRequest | None) -> JSONResponse:
        """Run the pipeline at a path, or return the stored response to an equal request."""
        spec = await run_in_threadpool(self.services.catalog.find_pipeline, path)
        trigger = read_trigger(
            self.org,
            spec,
            body or RunRequest(),
            context=self.context,
            by=self.by,
            runs_url=self.runs_url,
            now=datetime.now(UTC),
        )
        return respond(await start_run(trigger, services=self.services, key=self.key))


async def _get_starter(
    services: ServicesDep,
    context: ContextDep,
    actor: ActorDep,
    call: IdempotentCallDep,
    *,
    build_url: UrlBuilderDep,
    org: str,
) -> PipelineStarter:
    runs_url = build_url(f"/pipelines/runs/{org}")
    return PipelineStarter(services, context, actor, org, runs_url, call.key)


PipelineStarterDep = Annotated[PipelineStarter, Depends(_get_starter)]


@router.get(
    "",
    operation_id="list_pipelines",
    summary="List the pipelines that can be run",
    response_model_exclude_none=True,
)
@require_scope(Scope.PIPELINES_READ)
def list_pipelines(services: ServicesDep) -> PipelineList:
    """Return the pipelines with their params, as JSON Schema."""
    return PipelineList(pipelines=[_build_info(spec) for spec in services.catalog.list_runnable()])


@router.post(
    "/run/{org}/{provider}/{domain}/{pipeline}",
    operation_id="run_domain_pipeline",
    summary="Run a pipeline of a domain",
    **_RUN,
)
@require_scope(Scope.PIPELINES_RUN, when_suspended=WhenSuspended.DENIED_BY_GATE)
async def run_domain_pipeline(
    starter: PipelineStarterDep,
    *,
    provider: str,
    domain: str,
    pipeline: str,
    body: RunRequest | None = None,
) -> JSONResponse:
    """Run a pipeline for the requested days, or for the days that are due.

    Equal triggers within a minute are one run, as are those with one `Idempotency-Key`. When no
    day is due, the run is recorded as SUCCESS at once, without days and without use of the quota.
    """
    return await starter.start_pipeline(f"{provider}/{domain}/{pipeline}", body)


@router.post(
    "/run/{org}/{provider}/{pipeline}",
    operation_id="run_pipeline",
    summary="Run a pipeline",
    **_RUN,
)
@require_scope(Scope.PIPELINES_RUN, when_suspended=WhenSuspended.DENIED_BY_GATE)
async def run_pipeline(
    starter: PipelineStarterDep, provider: str, pipeline: str, body: RunRequest | None = None
) -> JSONResponse:
    """Run a pipeline without a domain, or the pipeline of an alias."""
    return await starter.start_pipeline(f"{provider}/{pipeline}", body)


def _build_info(spec: PipelineSpec) -> PipelineSummary:
    return PipelineSummary(
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
