"""An organization's configuration of a pipeline: enabled or not, schedule, default params."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from convergence.api.http.problems import InvalidFieldsError, build_field_error
from convergence.api.http.services import ApiServices
from convergence.api.schedules.models import PipelineConfigRequest
from convergence.errors import NotFoundError
from convergence.pipelines.files.spec import PipelineSpec
from convergence.processors import run_conf
from convergence.runs.dispatch import compute_next_time
from convergence.state import pipeline_configs
from convergence.state.pipeline_configs import PipelineConfig
from convergence.tenants import audit
from convergence.tenants.audit import Actor, AuditedAction, AuditResult

_DAY_PARAMS = ("date", "start_date", "end_date")


def find_pipeline(services: ApiServices, name: str) -> PipelineSpec:
    """Return the pipeline with this id or path that an org can run.

    Raises:
        NotFoundError: no such pipeline.
        ConfigurationError: the file of the path is invalid.
    """
    if "/" in name:
        return services.catalog.find_pipeline(name)
    for spec in services.catalog.list_runnable():
        if spec.pipeline_id == name:
            return spec
    raise NotFoundError("no such pipeline", pipeline_id=name[:100])


def find_config(services: ApiServices, org_slug: str, spec: PipelineSpec) -> PipelineConfig | None:
    """Return the org's configuration of a pipeline, None without one."""
    with services.store.read() as conn:
        return pipeline_configs.get_config(conn, org_slug, spec.pipeline_id)


def put_config(
    services: ApiServices,
    org_slug: str,
    spec: PipelineSpec,
    *,
    request: PipelineConfigRequest,
    by: Actor,
    now: datetime,
) -> PipelineConfig:
    """Replace an org's configuration of a pipeline, with its audit row.

    Raises:
        RequestError: unknown time zone, or params that the pipeline does not accept.
    """
    _check_timezone(request.timezone)
    params = _check_params(spec, request.params)
    next_due_at = None
    if request.enabled and request.schedule is not None:
        next_due_at = compute_next_time(request.schedule, request.timezone, after=now)
    config = PipelineConfig(
        org_slug=org_slug,
        pipeline_id=spec.pipeline_id,
        dag_id=spec.dag_id,
        provider=services.get_table_id(spec.provider),
        enabled=request.enabled,
        schedule=request.schedule,
        timezone=request.timezone,
        params=params,
        next_due_at=next_due_at,
        updated_at=now,
        updated_by=by.id,
    )
    with services.store.begin() as conn:
        config = pipeline_configs.put_config(conn, config)
        act = AuditedAction(org_slug, by, "pipeline.configure", spec.pipeline_id)
        details = {"enabled": request.enabled, "schedule": request.schedule}
        audit.append_entry(conn, act, result=AuditResult.SUCCEEDED, now=now, details=details)
    return config


def _check_params(spec: PipelineSpec, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the checked params without defaults. Days are rejected: they belong to one run."""
    if named := [name for name in _DAY_PARAMS if name in params]:
        message = "must not be configured: a schedule runs the days that are due"
        raise InvalidFieldsError(
            [build_field_error(f"body.params.{name}", message) for name in named]
        )
    return run_conf.check_partial_params(params, pipeline=spec.build_info())


def _check_timezone(name: str | None) -> None:
    try:
        ZoneInfo(name or "UTC")
    except (ZoneInfoNotFoundError, ValueError, OSError):
        message = "must be an IANA time zone such as Europe/Berlin"
        raise InvalidFieldsError([build_field_error("body.timezone", message)]) from None
