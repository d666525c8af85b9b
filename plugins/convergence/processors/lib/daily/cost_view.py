"""A table's part of `cost_daily`, for orgs that were taken in before the table existed too.

Onboarding gives a new org every part. An older one gets a part when a step first publishes its
table; each such step puts together all parts that are there, so an interrupted or overtaken change
is completed by the next.
"""

from __future__ import annotations

from convergence.processors.context import OrgContext
from convergence.processors.lib.field_types import ORG_LAYOUT
from convergence.warehouse.bootstrap import Layout
from convergence.warehouse.datasets import EnsureOutcome, list_tables
from convergence.warehouse.evolve import ensure_view
from convergence.warehouse.names import TableName

SUFFIX = "_source"
"""How the name of a part ends."""
VIEW = "cost_daily"


def show_in_cost_daily(org: OrgContext, source_view: str | None) -> None:
    """See that the part is there and that the whole contains it.

    Args:
        org: whose dataset.
        source_view: SQL file of the part, below the folder of configurations; None for none.
    """
    if source_view is None:
        return
    w, path = org.warehouse, org.settings.configs_dir / source_view
    part = TableName(org.dataset, path.stem)
    if ensure_view(w, part, path, description="Part of cost_daily") is EnsureOutcome.CREATED:
        org.log.info("%s is new in %s", path.stem, VIEW)
    layout = Layout.load(org.settings.configs_dir / ORG_LAYOUT)
    (spec,) = [view for view in layout.config.views if view.name == VIEW]
    names = list_tables(w, org.dataset)
    ensure_view(
        w,
        TableName(org.dataset, VIEW),
        layout.folder / "views" / f"{VIEW}.sql",
        identifiers={
            "org_slug": org.org_slug,
            "cost_sources": sorted(name for name in names if name.endswith(SUFFIX)),
        },
        description=spec.description,
    )
