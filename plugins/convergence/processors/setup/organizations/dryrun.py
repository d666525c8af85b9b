"""`setup.organizations.dryrun`: check whether an organization can be onboarded."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from convergence.processors.base import PlatformProcessor
from convergence.processors.context import PlatformContext, StepResult
from convergence.processors.setup.organizations.checks import (
    Check,
    OrganizationRequest,
    found,
    is_slug,
    request_checks,
)
from convergence.processors.setup.organizations.config import DryrunConfig

_OF_THE_SLUG = ("org_is_new", "dataset_is_free")


class Dryrun(PlatformProcessor[DryrunConfig]):
    """Make every check, report those that fail, and create nothing."""

    Config = DryrunConfig

    def run_step(
        self, platform: PlatformContext, config: DryrunConfig, params: Mapping[str, Any]
    ) -> StepResult:
        """Return `ready_for_onboarding` and `checks`; a failed check does not fail the run."""
        from convergence.tenants import quotas
        from convergence.warehouse.tables.bootstrap import Layout

        request = OrganizationRequest.read(params)
        layout = Layout.load(platform.settings.configs_dir / config.central_layout)
        checks = request_checks(request, plans=quotas.load_plans())
        checks += warehouse_checks(
            platform,
            org_slug=request.org_slug if is_slug(request.org_slug) else None,
            central_tables=[*layout.config.tables, *(view.name for view in layout.config.views)],
        )
        for check in checks:
            verdict = "holds" if check.passed else "fails"
            platform.log.info("%s %s: %s", check.check, verdict, check.detail)
        return StepResult(
            details={
                "ready_for_onboarding": all(check.passed for check in checks),
                "checks": [check.to_dict() for check in checks],
            }
        )


def warehouse_checks(
    platform: PlatformContext, *, org_slug: str | None, central_tables: Collection[str]
) -> list[Check]:
    """Make the checks that read the warehouse.

    Args:
        platform: whose warehouse.
        org_slug: None when it is no slug, so that nothing can be looked for.
        central_tables: tables and views that bootstrap makes.
    """
    from convergence.tenants import orgs
    from convergence.tenants.datasets import describe_org_dataset
    from convergence.warehouse.names import CENTRAL
    from convergence.warehouse.tables.datasets import dataset_exists, list_tables

    warehouse = platform.warehouse

    def reachable() -> tuple[bool, str]:
        present = dataset_exists(warehouse, CENTRAL)
        where = f"{warehouse.project} in {warehouse.location}"
        return True, where if present else f"{where}, without the dataset {CENTRAL}"

    def bootstrapped() -> tuple[bool, str]:
        missing = sorted(set(central_tables) - list_tables(warehouse, CENTRAL))
        if missing:
            return False, f"missing: {', '.join(missing)}; run bootstrap first"
        return True, f"{len(central_tables)} tables and views"

    checks = [found("warehouse_reachable", reachable), found("central_tables_exist", bootstrapped)]
    if org_slug is None:
        reason = "could not be checked: the slug is not valid"
        return [*checks, *(Check(name, passed=False, detail=reason) for name in _OF_THE_SLUG)]

    dataset = describe_org_dataset(platform.settings, org_slug).name

    def is_new() -> tuple[bool, str]:
        org = orgs.find_org(warehouse, org_slug)
        return org is None, org_slug if org is None else f"{org_slug} is taken already"

    def is_free() -> tuple[bool, str]:
        taken = dataset_exists(warehouse, dataset)
        return not taken, f"{dataset} exists already" if taken else dataset

    return [*checks, found("org_is_new", is_new), found("dataset_is_free", is_free)]
