"""Route of an organization's quota."""

from __future__ import annotations

from datetime import UTC, datetime

from convergence.api.http.dependencies import ServicesDep
from convergence.api.http.routing import guarded_router
from convergence.api.http.scopes import Scope, require_scope
from convergence.api.organizations.quota_models import QuotaResponse
from convergence.api.organizations.quotas import read_quota

router = guarded_router(prefix="/quota", tag="quota")


@router.get(
    "/{org}",
    operation_id="get_quota",
    summary="Get the limits of the plan and their use",
    response_model_exclude_none=True,
)
@require_scope(Scope.PIPELINES_READ)
def get_quota(services: ServicesDep, org: str) -> QuotaResponse:
    """Return the plan's limits, their present use, and when the use is reset."""
    return read_quota(services, org, now=datetime.now(UTC))
