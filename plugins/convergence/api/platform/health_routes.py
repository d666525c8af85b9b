"""Whether the process lives, and whether what it needs answers."""

from __future__ import annotations

from fastapi import Request
from fastapi.responses import JSONResponse

from convergence.api.http.document import VERSION
from convergence.api.http.models import Live, Ready
from convergence.api.http.routing import guarded_router
from convergence.api.http.scopes import Scope, needs
from convergence.api.http.services import services_of
from convergence.api.platform.readiness import Readiness
from convergence.providers.registry import load_registry

router = guarded_router(tag="health")


@router.get("/health", summary="Is the process alive?")
@needs(Scope.PUBLIC)
async def live(request: Request) -> Live:
    """Answers as long as the process does; asks nothing else."""
    edition = load_registry(services_of(request).settings).edition
    return Live(version=VERSION, provider_registry=edition)


@router.get(
    "/health/ready",
    summary="Can the service do its work?",
    response_model=Ready,
    responses={503: {"model": Ready, "description": "Something it needs does not answer."}},
)
@needs(Scope.PUBLIC)
async def ready(request: Request) -> JSONResponse:
    """Asks the state store, the warehouse, KMS and Airflow, and says how long each took."""
    asked: Readiness = request.app.state.readiness
    found = await asked.look()
    status = 200 if found.status == "ready" else 503
    return JSONResponse(found.model_dump(mode="json", exclude_none=True), status_code=status)
