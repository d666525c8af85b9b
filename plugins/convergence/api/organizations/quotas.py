"""An organization's quota and its use."""

from __future__ import annotations

from datetime import datetime

from convergence.api.http.services import ApiServices
from convergence.api.organizations.quota_models import LimitUse, QuotaResponse
from convergence.state import slots
from convergence.tenants import quotas


def read_quota(services: ApiServices, org_slug: str, *, now: datetime) -> QuotaResponse:
    """Return the org's limits and their present use.

    Raises:
        NotFoundError: the org has no quota.
    """
    quota = quotas.get_quota(services.warehouse, org_slug)
    connected = {each.provider for each in services.credentials.list_credentials(org_slug)}
    with services.store.read() as conn:
        use = slots.count_usage(conn, org_slug, now=now)
    tomorrow, next_month = slots.compute_resets(now)
    return QuotaResponse(
        org_slug=org_slug,
        plan=quota.plan,
        runs_per_day=_build_limit_use(quota.runs_per_day, use.today, resets_at=tomorrow),
        runs_per_month=_build_limit_use(quota.runs_per_month, use.this_month, resets_at=next_month),
        concurrent_runs=_build_limit_use(quota.concurrent_runs, use.active),
        providers=_build_limit_use(quota.max_providers, len(connected)),
        max_seats=quota.max_seats,
    )


def _build_limit_use(maximum: int, used: int, *, resets_at: datetime | None = None) -> LimitUse:
    return LimitUse(
        maximum=maximum, used=used, remaining=max(0, maximum - used), resets_at=resets_at
    )
