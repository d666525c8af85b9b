"""Onboard an organization in steps; each step may have been done before.

The profile comes first, since it reserves the slug. The subscription comes last, since pipelines
run for the org from then on. A step leaves existing rows unchanged, so a second run completes a run
that crashed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from convergence.errors import ConflictError
from convergence.processors.context import PlatformContext
from convergence.processors.setup.organizations.checks import (
    Check,
    OrganizationRequest,
    refuse_failed,
    request_checks,
)
from convergence.processors.setup.organizations.config import OnboardingConfig
from convergence.processors.setup.organizations.dataset import (
    DatasetPlan,
    Laid,
    lay_out,
    refuse_foreign,
)
from convergence.tenants import orgs, quotas, subscriptions
from convergence.tenants.audit import Actor
from convergence.tenants.datasets import DatasetType, describe_org_dataset
from convergence.warehouse.query import run_file
from convergence.warehouse.tables.datasets import list_tables

RECORD_SQL = "sql/record_validation.sql"


def onboard_organization(
    platform: PlatformContext, config: OnboardingConfig, request: OrganizationRequest
) -> dict[str, Any]:
    """Onboard the organization; return the details of the step.

    Raises:
        RequestError: the request is wrong; `errors` lists each reason.
        ConflictError: the slug or the dataset belongs to another organization.
        NotBootstrappedError: bootstrap has not run.
    """
    refuse_failed(request_checks(request, plans=quotas.load_plans()))
    plan = DatasetPlan.load(platform.settings.configs_dir, config)
    kind = describe_org_dataset(platform.settings, request.org_slug)
    run = OnboardingRun(platform, request, kind, now=platform.now())
    run.reserve()
    laid = lay_out(platform.warehouse, plan, kind, org_slug=request.org_slug)
    run.subscribe()
    return _build_details(request, kind, laid, checks=run.record(plan))


@dataclass(frozen=True)
class OnboardingRun:
    """Onboarding of one organization: profile, subscription, quota, validation record."""

    platform: PlatformContext
    request: OrganizationRequest
    kind: DatasetType
    now: datetime

    @property
    def by(self) -> Actor:
        """The actor in the audit log."""
        return Actor("system", self.platform.dag_run_id)

    def reserve(self) -> None:
        """Create the profile; refuse a slug or dataset of another organization."""
        platform, request = self.platform, self.request
        org = orgs.find_org(platform.warehouse, request.org_slug)
        refuse_foreign(platform.warehouse, self.kind.name, org_slug=request.org_slug)
        org = org or orgs.create_profile(
            platform.store,
            platform.warehouse,
            org_slug=request.org_slug,
            company_name=request.company_name,
            admin_email=request.admin_email,
            dataset_id=self.kind.name,
            by=self.by,
            now=self.now,
        )
        if (org.company_name, org.admin_email) != (request.company_name, request.admin_email):
            raise ConflictError(
                "The slug belongs to another organization", org_slug=request.org_slug
            )

    def subscribe(self) -> None:
        """Create the subscription and quota of the plan; existing ones keep their status."""
        subscriptions.create_subscription(
            self.platform.store,
            self.platform.warehouse,
            org_slug=self.request.org_slug,
            plan=self.request.subscription_plan,
            by=self.by,
            now=self.now,
        )

    def record(self, plan: DatasetPlan) -> list[Check]:
        """Check the onboarded org and record the checks in its dataset."""
        checks = self._look(plan)
        run_file(
            self.platform.warehouse,
            plan.layout.folder / RECORD_SQL,
            identifiers={"dataset": self.kind.name},
            params={
                "org_slug": self.request.org_slug,
                "run_id": self.platform.dag_run_id,
                "now": self.now,
                "checks": [
                    {"check_name": c.check, "passed": c.passed, "detail": c.detail} for c in checks
                ],
            },
        )
        return checks

    def _look(self, plan: DatasetPlan) -> list[Check]:
        warehouse, slug = self.platform.warehouse, self.request.org_slug
        missing = sorted(plan.names - list_tables(warehouse, self.kind.name))
        subscription = subscriptions.get_subscription(warehouse, slug)
        quota = quotas.get_quota(warehouse, slug)
        tables = f"missing: {', '.join(missing)}" if missing else f"{len(plan.names)} are there"
        return [
            Check("profile", passed=True, detail=orgs.get_org(warehouse, slug).dataset_id),
            Check("subscription", passed=True, detail=f"{subscription.plan} {subscription.status}"),
            Check("quota", passed=True, detail=f"{quota.plan}: {quota.runs_per_day} runs a day"),
            Check("tables", passed=not missing, detail=tables),
        ]


def _build_details(
    request: OrganizationRequest, kind: DatasetType, laid: Laid, *, checks: list[Check]
) -> dict[str, Any]:
    return {
        "org_slug": request.org_slug,
        "dataset_id": kind.name,
        # True on a repeated onboarding too: onboarding created the dataset.
        "dataset_created": True,
        "tables_created": laid.created(),
        "checks": [check.to_dict() for check in checks],
    }
