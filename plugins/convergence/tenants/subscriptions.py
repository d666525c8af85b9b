"""Subscriptions: an org's plan, and whether the org may run pipelines."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from convergence.errors import NotFoundError, RequestError
from convergence.state.store import StateStore
from convergence.tenants import quotas
from convergence.tenants.audit import Actor, AuditedAction, audit_change
from convergence.warehouse.client import Warehouse
from convergence.warehouse.params import typed
from convergence.warehouse.query import Row, run_file

STATUSES = ("TRIAL", "ACTIVE", "SUSPENDED", "CANCELLED")

# The statuses of the frontend's billing, and the matching statuses here.
_BILLING = {
    "trialing": "TRIAL",
    "active": "ACTIVE",
    "past_due": "SUSPENDED",
    "paused": "SUSPENDED",
    "incomplete": "SUSPENDED",
    "canceled": "CANCELLED",
}


@dataclass(frozen=True)
class Subscription:
    """An org's subscription; times are UTC, the period and the trial's end exclusive."""

    org_slug: str
    subscription_id: str
    plan: str
    status: str
    trial_ends_at: datetime | None
    period_start: datetime | None
    period_end: datetime | None
    created_at: datetime
    updated_at: datetime

    def allows_runs(self, now: datetime) -> bool:
        """Return whether the subscription is ACTIVE or in a trial that has not ended."""
        if self.status == "TRIAL":
            return self.trial_ends_at is not None and self.trial_ends_at > now
        return self.status == "ACTIVE"


def parse_status(status: str) -> str:
    """Return the subscription status for a status of ours or of the frontend's billing.

    Raises:
        RequestError: it is neither.
    """
    if status in STATUSES:
        return status
    if status in _BILLING:
        return _BILLING[status]
    accepted = sorted((*STATUSES, *_BILLING))
    raise RequestError(
        "There is no such subscription status", status=status[:60], accepted=accepted
    )


def create_subscription(
    store: StateStore,
    warehouse: Warehouse,
    *,
    org_slug: str,
    plan: str,
    by: Actor,
    now: datetime,
) -> Subscription:
    """Create a new org's subscription and quota; an org that has them keeps its status.

    Raises:
        RequestError: there is no such plan.
    """
    days = quotas.get_plan(plan).trial_days
    status = "TRIAL" if days else "ACTIVE"
    with audit_change(store, AuditedAction(org_slug, by, "subscription.create", plan), now=now):
        _run_statement(
            warehouse,
            "subscription_create",
            org_slug=org_slug,
            plan=plan,
            status=status,
            trial_ends_at=now + timedelta(days=days) if days else None,
            now=now,
        )
    quotas.apply_plan(store, warehouse, org_slug=org_slug, plan_name=plan, by=by, now=now)
    return get_subscription(warehouse, org_slug)


def update_subscription(
    store: StateStore,
    warehouse: Warehouse,
    *,
    org_slug: str,
    status: str,
    by: Actor,
    now: datetime,
    trial_ends_at: datetime | None = None,
    plan: str | None = None,
) -> Subscription:
    """Change an org's status, and its plan and limits when a plan is given.

    Args:
        store: where the audit is kept.
        warehouse: where the subscription is.
        org_slug: the org.
        status: ours or the frontend's billing status.
        by: who changes it.
        now: the instant.
        trial_ends_at: needed to begin a trial; kept as it was when not given.
        plan: the new plan.

    Raises:
        NotFoundError: the org has no subscription.
        RequestError: unknown status or plan, or a trial without an end.
    """
    new_status = parse_status(status)
    present = get_subscription(warehouse, org_slug)
    ends = trial_ends_at or present.trial_ends_at
    if new_status == "TRIAL" and ends is None:
        raise RequestError("A trial needs an end date", field="trial_ends_at")
    if plan is not None:
        quotas.get_plan(plan)
    details = {"from": present.status, "to": new_status, "plan": plan or present.plan}
    act = AuditedAction(org_slug, by, "subscription.change", present.subscription_id)
    with audit_change(store, act, now=now, details=details):
        _run_statement(
            warehouse,
            "subscription_put",
            org_slug=org_slug,
            plan=plan or present.plan,
            status=new_status,
            trial_ends_at=ends,
            now=now,
        )
    if plan is not None and plan != present.plan:
        quotas.apply_plan(store, warehouse, org_slug=org_slug, plan_name=plan, by=by, now=now)
    return get_subscription(warehouse, org_slug)


def get_subscription(warehouse: Warehouse, org_slug: str) -> Subscription:
    """Return the org's subscription.

    Raises:
        NotFoundError: it has none.
    """
    rows = run_file(
        warehouse, warehouse.sql("tenants/subscription_get.sql"), params={"org_slug": org_slug}
    )
    if not rows:
        raise NotFoundError("The organization has no subscription")
    return Subscription(**{name: rows[0][name] for name in Subscription.__dataclass_fields__})


def _run_statement(
    warehouse: Warehouse,
    name: str,
    *,
    org_slug: str,
    plan: str,
    status: str,
    trial_ends_at: datetime | None,
    now: datetime,
) -> list[Row]:
    params = {
        "org_slug": org_slug,
        "plan": plan,
        "status": status,
        "trial_ends_at": typed(trial_ends_at, "TIMESTAMP"),
        "now": now,
    }
    return run_file(warehouse, warehouse.sql(f"tenants/{name}.sql"), params=params)
