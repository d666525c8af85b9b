"""Build the views of cost in an org's dataset from what it holds.

Onboarding creates every table and view of the registry's cost streams. An older org gets those of a
new stream when a step first publishes a table of it. Each such step rebuilds the views from all
existing parts, so the next step completes an interrupted or overtaken change.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from convergence.processors.context import OrgContext
from convergence.processors.lib.field_types import ORG_LAYOUT
from convergence.processors.lib.schema_templates import load_template
from convergence.providers.cost_streams import TABLE_SUFFIX, CostBasis, Stream, list_streams
from convergence.providers.registry import load_registry_at
from convergence.settings import Settings
from convergence.warehouse.client import Warehouse
from convergence.warehouse.names import TableName
from convergence.warehouse.query import Group
from convergence.warehouse.schemas import TableSchema
from convergence.warehouse.tables.bootstrap import Layout
from convergence.warehouse.tables.datasets import EnsureOutcome, list_tables
from convergence.warehouse.tables.evolve import ensure_table, ensure_view, read_view_query

VIEWS = (
    *("cost_daily_by_basis", "cost_daily", "cost_reconciliation_daily", "org_comprehensive_view"),
)
STREAM_SCHEMA = "system/schemas/authoritative_daily.json"
RECONCILIATION_SCHEMA = "system/schemas/reconciliation_daily.json"
_STREAM_ONLY = frozenset(
    {
        *("BillingAccountId", "BillingAccountName", "x_Attribution", "x_CostStream", "x_Money"),
        *("x_Shown", "x_BillState", "x_UsageState", "x_Finality", "x_RunId", "x_OrgSlug"),
        *("x_BillRunId", "x_UsageRunId"),
    }
)
"""Columns of a stream's table that the views of its bases do not have."""


def load_stream_schema(configs_dir: Path, table: str) -> TableSchema:
    """Return the schema of a stream's table: all streams share one file."""
    return TableSchema.load(configs_dir / STREAM_SCHEMA).model_copy(update={"table": table})


def load_reconciliation_schema(configs_dir: Path, table: str) -> TableSchema:
    """Return the schema of a table that compares a stream's bill with its usage."""
    schema = TableSchema.load(configs_dir / RECONCILIATION_SCHEMA)
    return schema.model_copy(update={"table": table})


def list_source_columns(configs_dir: Path) -> list[str]:
    """Return the columns that the view of each basis has."""
    schema = TableSchema.load(configs_dir / STREAM_SCHEMA)
    return [field.name for field in schema.fields if field.name not in _STREAM_ONLY]


def ensure_basis(warehouse: Warehouse, configs_dir: Path, dataset: str, basis: CostBasis) -> None:
    """Create or widen the table of a basis, then create or update its view.

    Raises:
        SchemaError: the table can't become what its file says.
    """
    file = configs_dir / basis.schema_file
    schema = (
        TableSchema.load(file)
        if basis.schema_template is None
        else load_template(file, basis.schema_template, table=basis.table)
    )
    ensure_table(warehouse, TableName(dataset, basis.table), schema)
    ensure_view(
        warehouse,
        TableName(dataset, basis.view_name),
        configs_dir / basis.view,
        description="Part of cost_daily_by_basis",
    )


def show_in_cost_daily(org: OrgContext, source_view: str | None) -> None:
    """Create the view of a table if it is missing, and rebuild the cost views from all parts.

    Args:
        org: the org that owns the dataset.
        source_view: SQL file of the view, below the folder of configurations; None for none.
    """
    if source_view is None:
        return
    path = org.settings.configs_dir / source_view
    part = TableName(org.dataset, path.stem)
    outcome = ensure_view(org.warehouse, part, path, description="Part of cost_daily_by_basis")
    if outcome is EnsureOutcome.CREATED:
        org.log.info("%s is new in cost_daily_by_basis", path.stem)
    basis_view = TableName(org.dataset, VIEWS[0])
    if outcome is not EnsureOutcome.UNCHANGED or path.stem not in (
        read_view_query(org.warehouse, basis_view) or ""
    ):
        build_cost_views(org.warehouse, org.settings, org.org_slug)


def ensure_stream(org: OrgContext, stream: Stream) -> TableSchema:
    """Create or widen the table of a stream, and the cost views if the table is new.

    Returns:
        The table's schema.
    """
    schema = load_stream_schema(org.settings.configs_dir, stream.table)
    outcome = ensure_table(org.warehouse, TableName(org.dataset, stream.table), schema)
    if outcome is not EnsureOutcome.UNCHANGED:
        build_cost_views(org.warehouse, org.settings, org.org_slug)
    return schema


def ensure_reconciliation(org: OrgContext, stream: Stream) -> TableSchema:
    """Create or widen the table that compares a stream, and the views if the table is new.

    Returns:
        The table's schema.
    """
    name = stream.reconciliation_table
    schema = load_reconciliation_schema(org.settings.configs_dir, name)
    outcome = ensure_table(org.warehouse, TableName(org.dataset, name), schema)
    if outcome is not EnsureOutcome.UNCHANGED:
        build_cost_views(org.warehouse, org.settings, org.org_slug)
    return schema


def build_cost_views(warehouse: Warehouse, settings: Settings, org_slug: str) -> None:
    """Create or update the views from the tables and views that the dataset has."""
    dataset = settings.org_dataset(org_slug)
    layout = Layout.load(settings.configs_dir / ORG_LAYOUT)
    identifiers = build_view_identifiers(warehouse, settings.configs_dir, dataset, org_slug)
    for view in layout.config.views:
        if view.name in VIEWS and has_parts(view.name, identifiers):
            ensure_view(
                warehouse,
                TableName(dataset, view.name),
                layout.folder / "views" / f"{view.name}.sql",
                identifiers=identifiers,
                description=view.description,
            )


def build_view_identifiers(
    warehouse: Warehouse, configs_dir: Path, dataset: str, org_slug: str
) -> dict[str, Any]:
    """Return what the SQL files of the views in an org's dataset may name in double braces."""
    names = list_tables(warehouse, dataset)
    schema = TableSchema.load(configs_dir / STREAM_SCHEMA)
    return {
        "org_slug": org_slug,
        "columns": list_source_columns(configs_dir),
        "parts": list(_list_parts(warehouse, configs_dir, dataset, names)),
        "stream_columns": [field.name for field in schema.fields],
        "stream_tables": sorted(name for name in names if name.endswith(TABLE_SUFFIX)),
        "reconciliation_columns": [
            field.name for field in TableSchema.load(configs_dir / RECONCILIATION_SCHEMA).fields
        ],
        "reconciliation_tables": [
            stream.reconciliation_table
            for stream in list_streams(load_registry_at(configs_dir))
            if stream.reconciliation_table in names
        ],
    }


def has_parts(view: str, identifiers: Mapping[str, Any]) -> bool:
    """Return whether a view has something to read; a view of nothing can't be created."""
    needed = {
        "cost_daily_by_basis": "parts",
        "cost_daily": "stream_tables",
        "cost_reconciliation_daily": "reconciliation_tables",
        "org_comprehensive_view": "stream_tables",
    }
    return view not in needed or bool(identifiers[needed[view]])


def _list_parts(
    warehouse: Warehouse, configs_dir: Path, dataset: str, names: Collection[str]
) -> Iterator[Group]:
    """Yield the views of the bases that the dataset has, each brought up to date."""
    for stream in list_streams(load_registry_at(configs_dir)):
        for basis in stream.declared.bases.values():
            if basis.view_name in names:
                ensure_basis(warehouse, configs_dir, dataset, basis)
                yield {
                    "view": basis.view_name,
                    "provider": stream.provider,
                    "stream": stream.name,
                    "money": stream.declared.money,
                }
