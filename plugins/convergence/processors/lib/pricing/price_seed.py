"""Load a provider's price book into an org's table of prices or plans, checked as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Self

from convergence.processors.context import OrgContext, StepResult
from convergence.processors.lib.pricing.price_book import FILLED_BY_SEED, Price, PriceBook
from convergence.processors.lib.pricing.price_rules import SKU_COLUMNS
from convergence.processors.lib.pricing.pricing_config import BookFiles, PriceSeedConfig
from convergence.warehouse.client import Warehouse
from convergence.warehouse.names import TableName
from convergence.warehouse.params import Typed, typed
from convergence.warehouse.query import run_dml
from convergence.warehouse.schemas import TableSchema
from convergence.warehouse.tables.evolve import ensure_table

KEYS = (*SKU_COLUMNS, "effective_from")
"""Columns that identify a default in its table."""


def seed_prices(org: OrgContext, config: PriceSeedConfig) -> StepResult:
    """Update the org's defaults to those of the book; the rates that the org set itself stay.

    The SQL file is a MERGE with the parameters `@terms` and `@now`.

    Raises:
        PriceBookError: the book has errors; nothing is written.
    """
    loaded = LoadedBook.from_files(org.settings.configs_dir, config)
    name = TableName(org.dataset, config.table)
    return StepResult(
        rows_processed=merge_prices(org.warehouse, loaded, name, now=org.now()),
        destination_table=str(name),
        details={"prices": len(loaded.book.prices), "edition": loaded.book.edition},
    )


@dataclass(frozen=True, slots=True)
class LoadedBook:
    """A price book and the schema of the tables that it fills, read once for any number of orgs."""

    book: PriceBook
    schema: TableSchema
    sql_path: Path

    @classmethod
    def from_files(cls, configs_dir: Path, config: BookFiles) -> Self:
        """Read and check the files.

        Raises:
            PriceBookError: the book has errors.
            SchemaError: the schema has errors.
        """
        schema = TableSchema.load(configs_dir / config.schema_file)
        columns = {field.name: field.type for field in schema.fields}
        book = PriceBook.from_file(configs_dir / config.data_file, columns=columns)
        return cls(book, schema, configs_dir / config.sql_file)

    @property
    def columns(self) -> dict[str, str]:
        """Column → BigQuery type of the columns that the book fills."""
        fields = self.schema.fields
        return {one.name: one.type for one in fields if one.name not in FILLED_BY_SEED}


def merge_prices(w: Warehouse, loaded: LoadedBook, name: TableName, *, now: datetime) -> int:
    """Update one table's defaults to the book; return how many rows were written or deleted."""
    columns = loaded.columns
    ensure_table(w, name, loaded.schema)
    return run_dml(
        w,
        loaded.sql_path,
        identifiers={
            "dataset": name.dataset,
            "table": name.table,
            "keys": [column for column in KEYS if column in columns],
            "values": [column for column in columns if column not in KEYS],
        },
        params={
            "terms": [build_struct(price, columns=columns) for price in loaded.book.prices],
            "now": now,
        },
    )


def build_struct(price: Price, *, columns: Mapping[str, str]) -> dict[str, Typed]:
    """Return a price as a STRUCT parameter, with a type for every column, NULL included."""
    return {name: typed(price.values[name], kind) for name, kind in columns.items()}
