"""Routes of an organization's configuration of a pipeline."""

from __future__ import annotations

from datetime import UTC, datetime

from convergence.api.http.dependencies import ActorDep, ServicesDep
from convergence.api.http.routing import guarded_router
from convergence.api.http.scopes import Scope, require_scope
from convergence.api.schedules.configs import find_config, find_pipeline, put_config
from convergence.api.schedules.models import PipelineConfigRequest, PipelineConfigResponse
from convergence.pipelines.files.spec import PipelineSpec
from convergence.state.pipeline_configs import PipelineConfig

router = guarded_router(prefix="/pipelines/config", tag="pipelines")


@router.get(
    "/{org}/{pipeline:path}",
    operation_id="get_pipeline_config",
    summary="Get the configuration of a pipeline",
)
@require_scope(Scope.PIPELINES_READ)
def get_pipeline_config(services: ServicesDep, org: str, pipeline: str) -> PipelineConfigResponse:
    """Return the organization's configuration of a pipeline, or the default one.

    The pipeline is named by its id or path.
    """
    spec = find_pipeline(services, pipeline)
    return _build_response(org, spec, find_config(services, org, spec))


@router.put(
    "/{org}/{pipeline:path}",
    operation_id="set_pipeline_config",
    summary="Configure a pipeline",
)
@require_scope(Scope.PIPELINES_RUN)
def set_pipeline_config(
    services: ServicesDep,
    actor: ActorDep,
    org: str,
    pipeline: str,
    body: PipelineConfigRequest,
) -> PipelineConfigResponse:
    """Replace the organization's configuration of a pipeline.

    An organization with its own schedule is excluded from the pipeline's common runs.
    """
    spec = find_pipeline(services, pipeline)
    config = put_config(services, org, spec, request=body, by=actor, now=datetime.now(UTC))
    return _build_response(org, spec, config)


def _build_response(
    org: str, spec: PipelineSpec, config: PipelineConfig | None
) -> PipelineConfigResponse:
    return PipelineConfigResponse(
        org_slug=org,
        pipeline_id=spec.pipeline_id,
        enabled=config.enabled if config else True,
        schedule=config.schedule if config else None,
        timezone=config.timezone if config else None,
        params=dict(config.params) if config else {},
        common_schedule=spec.schedule,
        next_due_at=config.next_due_at if config else None,
        updated_at=config.updated_at if config else None,
        updated_by=config.updated_by if config else None,
    )
