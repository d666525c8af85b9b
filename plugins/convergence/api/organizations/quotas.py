"""What an organization's plan allows, what it has used, and when that begins anew."""

from __future__ import annotations

from datetime import datetime

from convergence.api.http.services import Services
from convergence.api.organizations.quota_models import LimitUse, QuotaAnswer
from convergence.state import slots
from convergence.tenants import quotas


def quota_of(services: Services, org_slug: str, *, now: datetime) -> QuotaAnswer:
    """The org's limits beside their use at this moment.

    Raises:
        NotFoundError: the org has no quota.
    """
    quota = quotas.get_quota(services.warehouse, org_slug)
    connected = {one.provider for one in services.credentials.list_credentials(org_slug)}
    with services.store.read() as conn:
        use = slots.count_usage(conn, org_slug, now=now)
    tomorrow, next_month = slots.compute_resets(now)
    return QuotaAnswer(
        org_slug=org_slug,
        plan=quota.plan,
        runs_per_day=_limit(quota.runs_per_day, use.today, resets_at=tomorrow),
        runs_per_month=_limit(quota.runs_per_month, use.this_month, resets_at=next_month),
        concurrent_runs=_limit(quota.concurrent_runs, use.active),
        providers=_limit(quota.max_providers, len(connected)),
        max_seats=quota.max_seats,
    )


def _limit(maximum: int, used: int, *, resets_at: datetime | None = None) -> LimitUse:
    left = max(0, maximum - used)
    return LimitUse(maximum=maximum, used=used, remaining=left, resets_at=resets_at)
