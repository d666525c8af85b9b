"""Plans, and the quota that each org gets from its plan."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path

from pydantic import Field, PositiveInt

from convergence.config_files import Strict, read_config
from convergence.errors import NotFoundError, RequestError
from convergence.settings import get_settings
from convergence.state.store import StateStore
from convergence.tenants.audit import Actor, AuditedAction, audit_change
from convergence.warehouse.client import Warehouse
from convergence.warehouse.query import run_file


class PlanLimits(Strict):
    """The limits of a plan. All runs count, per UTC day and UTC month."""

    runs_per_day: PositiveInt
    runs_per_month: PositiveInt
    concurrent_runs: PositiveInt
    max_providers: PositiveInt
    max_seats: PositiveInt
    trial_days: int = Field(default=0, ge=0, description="0: starts ACTIVE; else in TRIAL")


class PlansFile(Strict):
    """`system/plans.yml`."""

    """`system/plans.yml`."""

    plans: dict[str, PlanLimits] = Field(min_length=1)


@dataclass(frozen=True)
class Quota:
    """An org's limits as they are stored: its plan's when they were last applied."""

    org_slug: str
    plan: str
    runs_per_day: int
    runs_per_month: int
    concurrent_runs: int
    max_providers: int
    max_seats: int


def load_plans() -> dict[str, PlanLimits]:
    """Load the plans of `system/plans.yml`, by name.

    Raises:
        ConfigurationError: the file is wrong.
    """
    return _read_plans(get_settings().configs_dir / "system" / "plans.yml")


def get_plan(name: str) -> PlanLimits:
    """Return the plan of this name.

    Raises:
        RequestError: there is none; the error lists the accepted names.
    """
    known = load_plans()
    if name not in known:
        raise RequestError("There is no such plan", plan=name[:60], accepted=sorted(known))
    return known[name]


def apply_plan(
    store: StateStore,
    warehouse: Warehouse,
    *,
    org_slug: str,
    plan_name: str,
    by: Actor,
    now: datetime,
) -> Quota:
    """Set the org's limits from its plan; a second call changes nothing.

    Raises:
        RequestError: there is no such plan.
    """
    limits = get_plan(plan_name)
    act = AuditedAction(org_slug, by, "quota.apply", plan_name)
    values = limits.model_dump(exclude={"trial_days"})
    with audit_change(store, act, now=now, details=values):
        run_file(
            warehouse,
            warehouse.sql("tenants/quota_put.sql"),
            params={"org_slug": org_slug, "plan": plan_name, "now": now, **values},
        )
    return Quota(org_slug=org_slug, plan=plan_name, **values)


def get_quota(warehouse: Warehouse, org_slug: str) -> Quota:
    """Return the org's limits.

    Raises:
        NotFoundError: it has none.
    """
    rows = run_file(
        warehouse, warehouse.sql("tenants/quota_get.sql"), params={"org_slug": org_slug}
    )
    if not rows:
        raise NotFoundError("The organization has no quota")
    return Quota(**{name: rows[0][name] for name in Quota.__dataclass_fields__})


@lru_cache(maxsize=4)
def _read_plans(path: Path) -> dict[str, PlanLimits]:
    return read_config(path, PlansFile).plans
