"""Route of an organization's subscription."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

from convergence.api.http.dependencies import ActorDep, ServicesDep
from convergence.api.http.problems import InvalidFieldsError, build_field_error
from convergence.api.http.routing import guarded_router
from convergence.api.http.scopes import Scope, require_scope
from convergence.api.organizations.models import SubscriptionRequest, SubscriptionResponse
from convergence.tenants import orgs, subscriptions

router = guarded_router(prefix="/organizations", tag="organizations")


@router.put(
    "/{org}/subscription",
    operation_id="set_subscription",
    summary="Change a subscription",
)
@require_scope(Scope.ADMIN)
def set_subscription(
    services: ServicesDep, actor: ActorDep, org: str, body: SubscriptionRequest
) -> SubscriptionResponse:
    """Set the status, the plan or the end of the trial; absent fields do not change.

    The change takes effect everywhere within a minute. Only ACTIVE and an unexpired TRIAL may run.
    """
    if body.status and body.billing_status:
        message = "must not be set together with status"
        raise InvalidFieldsError([build_field_error("body.billing_status", message)])
    orgs.get_active_org(services.warehouse, org)
    present = subscriptions.get_subscription(services.warehouse, org)
    changed = subscriptions.update_subscription(
        services.store,
        services.warehouse,
        org_slug=org,
        status=body.status or body.billing_status or present.status,
        by=actor,
        now=datetime.now(UTC),
        trial_ends_at=_convert_trial_end(body.trial_end_date),
        plan=body.plan,
    )
    services.gate.forget_org(org)
    fields = SubscriptionResponse.model_fields
    return SubscriptionResponse(**{name: getattr(changed, name) for name in fields})


def _convert_trial_end(value: datetime | date | None) -> datetime | None:
    """Return the instant at which a trial ends; a day is included as a whole."""
    if value is None or isinstance(value, datetime):
        return value
    return datetime.combine(value, time.min, UTC) + timedelta(days=1)
