"""An organization's own word on a pipeline: whether it runs, when, and with which params."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from convergence.api.http.responses import actor
from convergence.api.http.routing import guarded_router
from convergence.api.http.scopes import Scope, needs
from convergence.api.http.services import services_of
from convergence.api.schedules import scheduler
from convergence.api.schedules.models import PipelineConfigAnswer, PipelineConfigRequest
from convergence.pipelines.files.spec import PipelineSpec
from convergence.state.pipeline_configs import PipelineConfig

router = guarded_router(prefix="/pipelines/config", tag="pipelines")


@router.get("/{org}/{pipeline:path}", summary="A pipeline's configuration")
@needs(Scope.PIPELINES_READ)
async def config(request: Request, org: str, pipeline: str) -> PipelineConfigAnswer:
    """How a pipeline, by id or path, is configured for the organization, or would be."""
    services = services_of(request)
    spec = await run_in_threadpool(scheduler.find_pipeline, services, pipeline)
    found = await run_in_threadpool(scheduler.config_of, services, org, spec)
    return _told(org, spec, found)


@router.put("/{org}/{pipeline:path}", summary="Configure a pipeline")
@needs(Scope.PIPELINES_RUN)
async def put_config(
    request: Request, org: str, pipeline: str, body: PipelineConfigRequest
) -> PipelineConfigAnswer:
    """Replace the organization's configuration of a pipeline.

    With a schedule of its own the organization is left out of the pipeline's common runs.
    """
    services = services_of(request)
    spec = await run_in_threadpool(scheduler.find_pipeline, services, pipeline)
    change = partial(
        scheduler.configure,
        services,
        org,
        spec,
        asked=body,
        by=actor(request),
        now=datetime.now(UTC),
    )
    return _told(org, spec, await run_in_threadpool(change))


def _told(org: str, spec: PipelineSpec, found: PipelineConfig | None) -> PipelineConfigAnswer:
    return PipelineConfigAnswer(
        org_slug=org,
        pipeline_id=spec.pipeline_id,
        enabled=found.enabled if found else True,
        schedule=found.schedule if found else None,
        timezone=found.timezone if found else None,
        params=dict(found.params) if found else {},
        common_schedule=spec.schedule,
        next_due_at=found.next_due_at if found else None,
        updated_at=found.updated_at if found else None,
        updated_by=found.updated_by if found else None,
    )
