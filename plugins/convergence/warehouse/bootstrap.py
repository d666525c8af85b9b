"""A dataset laid out by its folder: `config.yml`, `schemas/*.json`, `views/*.sql`.

The central dataset is one such folder, the part of an org's dataset that every org has another.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from convergence.errors import ConfigurationError, SchemaError
from convergence.warehouse.client import Warehouse
from convergence.warehouse.datasets import Outcome, ensure_dataset
from convergence.warehouse.evolve import ensure_table, ensure_view
from convergence.warehouse.names import IDENTIFIER, TableName
from convergence.warehouse.query import Identifiers
from convergence.warehouse.schemas import TableSchema

_Name = Annotated[str, Field(pattern=IDENTIFIER)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DatasetSpec(_Model):
    """The dataset itself."""

    name: _Name | None = None
    description: str = Field(min_length=10)
    labels: dict[str, str] = Field(default_factory=dict)


class ViewSpec(_Model):
    """A view; its SQL is `views/{name}.sql`."""

    name: _Name
    description: str = Field(min_length=10)


class LayoutConfig(_Model):
    """`config.yml`: what to create, in this order."""

    dataset: DatasetSpec
    tables: tuple[_Name, ...] = Field(min_length=1)
    views: tuple[ViewSpec, ...] = ()


@dataclass(frozen=True, slots=True)
class Layout:
    """A folder, read and checked: everything wrong in it is known before anything is created."""

    folder: Path
    config: LayoutConfig
    schemas: tuple[TableSchema, ...]

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read the folder.

        Raises:
            ConfigurationError: `config.yml` is missing or wrong, a file it names is missing, or
                one lies there that it does not name.
            SchemaError: a schema file is wrong.
        """
        config = _config(folder / "config.yml")
        listed = {f"schemas/{table}.json" for table in config.tables}
        listed |= {f"views/{view.name}.sql" for view in config.views}
        present = {
            path.relative_to(folder).as_posix()
            for pattern in ("schemas/*.json", "views/*.sql")
            for path in folder.glob(pattern)
        }
        if listed != present:
            raise ConfigurationError(
                "config.yml and the files beside it differ",
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
    """What `build` did, by name, in order."""

    dataset: str
    dataset_outcome: Outcome = Outcome.UNCHANGED
    tables: dict[str, Outcome] = field(default_factory=dict)
    views: dict[str, Outcome] = field(default_factory=dict)

    def named(self, outcome: Outcome) -> list[str]:
        """Tables and views that ended so."""
        return [name for name, had in {**self.tables, **self.views}.items() if had is outcome]

    @property
    def created(self) -> list[str]:
        """Tables and views that were missing."""
        return self.named(Outcome.CREATED)

    @property
    def widened(self) -> list[str]:
        """Tables and views that were behind their files."""
        return self.named(Outcome.WIDENED)

    @property
    def unchanged(self) -> list[str]:
        """Tables and views that were as their files say."""
        return self.named(Outcome.UNCHANGED)


def build(
    w: Warehouse,
    layout: Layout,
    *,
    dataset: str | None = None,
    identifiers: Identifiers | None = None,
) -> LayoutReport:
    """Create or widen the dataset, its tables, then its views. Running it again changes nothing.

    Args:
        w: the warehouse.
        layout: the folder.
        dataset: its name where the folder names none.
        identifiers: for the views' SQL, beyond project, central and dataset.

    Raises:
        SchemaError: something present can't become what a file says; the tables before it are
            done, and running again goes on from there.
    """
    name = layout.config.dataset.name or dataset
    if name is None:
        raise ConfigurationError("The layout names no dataset", folder=str(layout.folder))
    report = LayoutReport(dataset=name)
    spec = layout.config.dataset
    report.dataset_outcome = ensure_dataset(
        w, name, description=spec.description, labels=spec.labels
    )
    for schema in layout.schemas:
        report.tables[schema.table] = ensure_table(w, TableName(name, schema.table), schema)
    for view in layout.config.views:
        report.views[view.name] = ensure_view(
            w,
            TableName(name, view.name),
            layout.folder / "views" / f"{view.name}.sql",
            identifiers=identifiers,
            description=view.description,
            labels=spec.labels,
        )
    return report


def central_layout(configs_dir: Path) -> Layout:
    """The central dataset's folder, `setup/bootstrap`."""
    return Layout.load(configs_dir / "setup" / "bootstrap")


def _config(path: Path) -> LayoutConfig:
    try:
        return LayoutConfig.model_validate(
            yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
        )
    except FileNotFoundError:
        raise ConfigurationError("Settings file is missing", file=str(path)) from None
    except yaml.YAMLError as error:
        raise ConfigurationError(
            "Settings file is no YAML", file=str(path), why=str(error)
        ) from None
    except ValidationError as error:
        faults = [
            f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}"
            for fault in error.errors(include_input=False, include_url=False)
        ]
        raise SchemaError("Settings file is wrong", file=str(path), faults=faults) from None
