"""An organization's quota."""

from __future__ import annotations

from datetime import UTC, datetime

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from convergence.api.http.routing import guarded_router
from convergence.api.http.scopes import Scope, needs
from convergence.api.http.services import services_of
from convergence.api.organizations.quota_models import QuotaAnswer
from convergence.api.organizations.quotas import quota_of

router = guarded_router(prefix="/quota", tag="quota")


@router.get("/{org}", summary="Limits and their use", response_model_exclude_none=True)
@needs(Scope.PIPELINES_READ)
async def quota(request: Request, org: str) -> QuotaAnswer:
    """What the plan allows, what is used of it now, and when it begins anew."""
    now = datetime.now(UTC)
    return await run_in_threadpool(quota_of, services_of(request), org, now=now)
