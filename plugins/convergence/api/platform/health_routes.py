"""Routes of the liveness and readiness probes."""

from __future__ import annotations

from fastapi import Request
from fastapi.responses import JSONResponse

from convergence.api.http.dependencies import ServicesDep
from convergence.api.http.document import VERSION
from convergence.api.http.routing import guarded_router
from convergence.api.http.scopes import Scope, require_scope
from convergence.api.platform.models import Liveness, ReadinessResponse
from convergence.api.platform.readiness import Readiness
from convergence.providers.registry import load_registry

router = guarded_router(tag="health")


@router.get("/health", operation_id="get_health", summary="Get the liveness of the process")
@require_scope(Scope.PUBLIC)
async def get_health(services: ServicesDep) -> Liveness:
    """Respond as long as the process is running; no other service is checked."""
    return Liveness(version=VERSION, provider_registry=load_registry(services.settings).edition)


@router.get(
    "/health/ready",
    operation_id="get_readiness",
    summary="Get the readiness of the service",
    response_model=ReadinessResponse,
    responses={
        503: {"model": ReadinessResponse, "description": "A required service does not respond."}
    },
)
@require_scope(Scope.PUBLIC)
async def get_readiness(request: Request) -> JSONResponse:
    """Check the state store, the warehouse, KMS and Airflow, with the duration of each check."""
    readiness: Readiness = request.app.state.readiness
    found = await readiness.get_readiness()
    status = 200 if found.status == "ready" else 503
    return JSONResponse(found.model_dump(mode="json", exclude_none=True), status_code=status)
