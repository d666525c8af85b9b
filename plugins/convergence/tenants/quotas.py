"""Plans and the quota that each org has from its plan."""

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
from convergence.tenants.audit import Act, Actor, audited
from convergence.warehouse.client import Warehouse
from convergence.warehouse.query import run_file


class Plan(Strict):
    """What a plan allows. Runs count per UTC day and UTC month, whoever started them."""

    runs_per_day: PositiveInt
    runs_per_month: PositiveInt
    concurrent_runs: PositiveInt
    max_providers: PositiveInt
    max_seats: PositiveInt
    trial_days: int = Field(default=0, ge=0, description="0: starts ACTIVE; else in TRIAL")


class PlansFile(Strict):
    """`system/plans.yml`."""

    """`system/plans.yml`."""

    plans: dict[str, Plan] = Field(min_length=1)


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


def plans() -> dict[str, Plan]:
    """The plans of `system/plans.yml`, by name.

    Raises:
        ConfigurationError: the file is wrong.
    """
    return _read(get_settings().configs_dir / "system" / "plans.yml")


def plan(name: str) -> Plan:
    """The plan of this name.

    Raises:
        RequestError: there is none; the accepted names are among the facts.
    """
    known = plans()
    if name not in known:
        raise RequestError("There is no such plan", plan=name[:60], accepted=sorted(known))
    return known[name]


def apply(
    store: StateStore,
    warehouse: Warehouse,
    *,
    org_slug: str,
    plan_name: str,
    by: Actor,
    now: datetime,
) -> Quota:
    """Give the org its plan's limits; doing it again changes nothing.

    Raises:
        RequestError: there is no such plan.
    """
    limits = plan(plan_name)
    act = Act(org_slug, by, "quota.apply", plan_name)
    values = limits.model_dump(exclude={"trial_days"})
    with audited(store, act, now=now, details=values):
        run_file(
            warehouse,
            warehouse.sql("tenants/quota_put.sql"),
            params={"org_slug": org_slug, "plan": plan_name, "now": now, **values},
        )
    return Quota(org_slug=org_slug, plan=plan_name, **values)


def get(warehouse: Warehouse, org_slug: str) -> Quota:
    """The org's limits.

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
def _read(path: Path) -> dict[str, Plan]:
    return read_config(path, PlansFile).plans
