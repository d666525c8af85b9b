"""Build a dataset from its folder: `config.yml`, `schemas/*.json`, `views/*.sql`.

One such folder describes the central dataset, another one the tables that every org's dataset has.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field

from convergence.config_files import Strict, read_config
from convergence.errors import ConfigurationError
from convergence.warehouse.client import Warehouse
from convergence.warehouse.names import IDENTIFIER, TableName
from convergence.warehouse.query import Identifiers
from convergence.warehouse.schemas import TableSchema
from convergence.warehouse.tables.datasets import EnsureOutcome, ensure_dataset
from convergence.warehouse.tables.evolve import ensure_table, ensure_view

_Name = Annotated[str, Field(pattern=IDENTIFIER)]


class ViewSpec(Strict):
    """A view; its SQL is `views/{name}.sql`."""

    name: _Name
    description: str = Field(min_length=10)


class LayoutConfig(Strict):
    """`config.yml`: what to create, in this order."""

    tables: tuple[_Name, ...] = Field(min_length=1)
    views: tuple[ViewSpec, ...] = ()


@dataclass(frozen=True, slots=True)
class Layout:
    """A folder, read and checked before anything is created from it."""

    folder: Path
    config: LayoutConfig
    schemas: tuple[TableSchema, ...]

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read the folder.

        Raises:
            ConfigurationError: `config.yml` is missing or invalid, a file it names is missing, or
                the folder has a file that it does not name.
            SchemaError: a schema file is invalid.
        """
        config = read_config(folder / "config.yml", LayoutConfig)
        listed = {f"schemas/{table}.json" for table in config.tables}
        listed |= {f"views/{view.name}.sql" for view in config.views}
        present = {
            path.relative_to(folder).as_posix()
            for pattern in ("schemas/*.json", "views/*.sql")
            for path in folder.glob(pattern)
        }
        if listed != present:
            raise ConfigurationError(
                "config.yml and the files in its folder differ",
                folder=str(folder),
                missing=sorted(listed - present),
                unlisted=sorted(present - listed),
            )
        schemas = [
            TableSchema.load(folder / "schemas" / f"{table}.json") for table in config.tables
        ]
        return cls(folder=folder, config=config, schemas=tuple(schemas))


@dataclass(slots=True)
class LayoutReport:
    """The outcome of `build_layout` for each table and view, in order."""

    dataset: str
    dataset_outcome: EnsureOutcome = EnsureOutcome.UNCHANGED
    tables: dict[str, EnsureOutcome] = field(default_factory=dict)
    views: dict[str, EnsureOutcome] = field(default_factory=dict)

    def list_names(self, outcome: EnsureOutcome) -> list[str]:
        """Return the tables and views with an outcome."""
        return [name for name, had in {**self.tables, **self.views}.items() if had is outcome]

    @property
    def created(self) -> list[str]:
        """Return the tables and views that were missing."""
        return self.list_names(EnsureOutcome.CREATED)

    @property
    def widened(self) -> list[str]:
        """Return the tables and views that were older than their files."""
        return self.list_names(EnsureOutcome.WIDENED)

    @property
    def unchanged(self) -> list[str]:
        """Return the tables and views that matched their files."""
        return self.list_names(EnsureOutcome.UNCHANGED)


def build_layout(
    w: Warehouse,
    layout: Layout,
    *,
    dataset: str,
    description: str,
    labels: Mapping[str, str],
    identifiers: Identifiers | None = None,
) -> LayoutReport:
    """Create or widen the dataset, its tables, then its views. Running it again changes nothing.

    Args:
        w: the warehouse.
        layout: the folder.
        dataset: the dataset's name.
        description: its description.
        labels: its labels; its views carry them too, its tables those of their files.
        identifiers: for the views' SQL, beyond project, central and dataset.

    Raises:
        SchemaError: an existing table can't be changed as its file requires; the tables before it
            are done, and a repeated call continues from there.
    """
    report = LayoutReport(dataset=dataset)
    report.dataset_outcome = ensure_dataset(w, dataset, description=description, labels=labels)
    for schema in layout.schemas:
        report.tables[schema.table] = ensure_table(w, TableName(dataset, schema.table), schema)
    for view in layout.config.views:
        report.views[view.name] = ensure_view(
            w,
            TableName(dataset, view.name),
            layout.folder / "views" / f"{view.name}.sql",
            identifiers=identifiers,
            description=view.description,
            labels=labels,
        )
    return report


def central_layout(configs_dir: Path) -> Layout:
    """Load the folder of the central dataset, `setup/bootstrap`; its name is `names.CENTRAL`."""
    return Layout.load(configs_dir / "setup" / "bootstrap")
