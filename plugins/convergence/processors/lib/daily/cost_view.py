"""Add a table to the view `cost_daily`, also for orgs that were onboarded before it existed.

Onboarding creates all parts of the view for a new org. An older org gets a part when a step first
publishes its table. Each such step rebuilds the view from all existing parts, so the next step
completes an interrupted or overtaken change.
"""

from __future__ import annotations

from convergence.processors.context import OrgContext
from convergence.processors.lib.field_types import ORG_LAYOUT
from convergence.warehouse.names import TableName
from convergence.warehouse.tables.bootstrap import Layout
from convergence.warehouse.tables.datasets import EnsureOutcome, list_tables
from convergence.warehouse.tables.evolve import ensure_view

SUFFIX = "_source"
"""Suffix of the name of a part."""
VIEW = "cost_daily"


def show_in_cost_daily(org: OrgContext, source_view: str | None) -> None:
    """Create the table's part if it is missing, and rebuild the view from all parts.

    Args:
        org: the org that owns the dataset.
        source_view: SQL file of the part, below the folder of configurations; None for none.
    """
    if source_view is None:
        return
    warehouse, path = org.warehouse, org.settings.configs_dir / source_view
    part = TableName(org.dataset, path.stem)
    if (
        ensure_view(warehouse, part, path, description="Part of cost_daily")
        is EnsureOutcome.CREATED
    ):
        org.log.info("%s is new in %s", path.stem, VIEW)
    layout = Layout.load(org.settings.configs_dir / ORG_LAYOUT)
    (spec,) = [view for view in layout.config.views if view.name == VIEW]
    names = list_tables(warehouse, org.dataset)
    ensure_view(
        warehouse,
        TableName(org.dataset, VIEW),
        layout.folder / "views" / f"{VIEW}.sql",
        identifiers={
            "org_slug": org.org_slug,
            "cost_sources": sorted(name for name in names if name.endswith(SUFFIX)),
        },
        description=spec.description,
    )
