"""An org's dataset: its providers' tables, its own tables, its views, in an order that works."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from convergence.errors import ConfigurationError, ConflictError
from convergence.processors.lib.daily.cost_view import (
    build_view_identifiers,
    has_parts,
    load_reconciliation_schema,
    load_stream_schema,
)
from convergence.processors.setup.organizations.config import OnboardingConfig
from convergence.providers.cost_streams import list_streams
from convergence.providers.registry import load_registry_at
from convergence.tenants.datasets import OWNER_LABEL, DatasetType
from convergence.warehouse.client import Warehouse
from convergence.warehouse.names import TableName
from convergence.warehouse.schemas import TableSchema
from convergence.warehouse.tables.bootstrap import Layout
from convergence.warehouse.tables.datasets import EnsureOutcome, dataset_labels, ensure_dataset
from convergence.warehouse.tables.evolve import ensure_table, ensure_view


@dataclass(frozen=True, slots=True)
class DatasetPlan:
    """Content of every org's dataset; read and checked before anything is created."""

    configs_dir: Path
    layout: Layout
    provider_tables: tuple[TableSchema, ...]
    stream_tables: tuple[TableSchema, ...]
    cost_sources: tuple[Path, ...]

    @classmethod
    def load(cls, configs_dir: Path, config: OnboardingConfig) -> Self:
        """Read the files.

        Raises:
            ConfigurationError, SchemaError: a file is missing or wrong.
        """
        provider_tables = tuple(
            TableSchema.load(configs_dir / path) for path in config.provider_tables
        )
        streams = list_streams(load_registry_at(configs_dir))
        tables = {schema.table for schema in provider_tables}
        sources = tuple(
            configs_dir / basis.view
            for stream in streams
            for basis in stream.declared.bases.values()
            if basis.table in tables
        )
        if missing := [str(path) for path in sources if not path.is_file()]:
            raise ConfigurationError("SQL files are missing", files=missing)
        return cls(
            configs_dir=configs_dir,
            layout=Layout.load(configs_dir / config.layout),
            provider_tables=provider_tables,
            stream_tables=(
                *(load_stream_schema(configs_dir, one.table) for one in streams),
                *(
                    load_reconciliation_schema(configs_dir, one.reconciliation_table)
                    for one in streams
                    if one.declared.reconciliation is not None
                ),
            ),
            cost_sources=sources,
        )

    @property
    def schemas(self) -> tuple[TableSchema, ...]:
        """Every table."""
        return (*self.provider_tables, *self.stream_tables, *self.layout.schemas)

    @property
    def names(self) -> set[str]:
        """Every table and view."""
        tables = {schema.table for schema in self.schemas}
        views = {view.name for view in self.layout.config.views}
        return tables | views | {path.stem for path in self.cost_sources}


@dataclass(slots=True)
class Laid:
    """Outcomes of `lay_out` by table or view, in order."""

    dataset: EnsureOutcome
    tables: dict[str, EnsureOutcome] = field(default_factory=dict)
    views: dict[str, EnsureOutcome] = field(default_factory=dict)

    def created(self) -> list[str]:
        """Return the created tables and views."""
        both = {**self.tables, **self.views}
        return [name for name, outcome in both.items() if outcome is EnsureOutcome.CREATED]


def refuse_foreign(w: Warehouse, dataset: str, *, org_slug: str) -> None:
    """Refuse an existing dataset of this name that belongs to another org.

    Raises:
        ConflictError: there is one.
    """
    labels = dataset_labels(w, dataset)
    if labels is not None and labels.get(OWNER_LABEL) != org_slug:
        raise ConflictError("The dataset exists and is not this organization's", dataset=dataset)


def lay_out(w: Warehouse, plan: DatasetPlan, kind: DatasetType, *, org_slug: str) -> Laid:
    """Create or widen the dataset and all it holds. Running it again changes nothing.

    Raises:
        SchemaError: something present can't become what its file says.
    """
    labels = {**kind.labels, OWNER_LABEL: org_slug}
    laid = Laid(ensure_dataset(w, kind.name, description=kind.description, labels=labels))
    for schema in plan.schemas:
        laid.tables[schema.table] = ensure_table(w, TableName(kind.name, schema.table), schema)
    for path in plan.cost_sources:
        laid.views[path.stem] = ensure_view(
            w, TableName(kind.name, path.stem), path, description="Part of cost_daily_by_basis"
        )
    identifiers = build_view_identifiers(w, plan.configs_dir, kind.name, org_slug)
    for view in plan.layout.config.views:
        if not has_parts(view.name, identifiers):
            continue
        laid.views[view.name] = ensure_view(
            w,
            TableName(kind.name, view.name),
            plan.layout.folder / "views" / f"{view.name}.sql",
            identifiers=identifiers,
            description=view.description,
            labels=labels,
        )
    return laid
