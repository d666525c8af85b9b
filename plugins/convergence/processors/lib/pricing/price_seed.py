"""A provider's price book into an org's table of prices or plans: checked, then merged at once."""

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
from convergence.warehouse.evolve import ensure_table
from convergence.warehouse.names import TableName
from convergence.warehouse.params import Typed, typed
from convergence.warehouse.query import run_dml
from convergence.warehouse.schemas import TableSchema

KEYS = (*SKU_COLUMNS, "effective_from")
"""What names a default in its table."""


def seed_prices(org: OrgContext, config: PriceSeedConfig) -> StepResult:
    """Bring the defaults up to the book; what the org maintains itself stays.

    The SQL is a MERGE that takes `@terms` and `@now`, and the columns of the book by name.

    Raises:
        PriceBookError: the book is wrong; nothing is written.
    """
    shelf = Shelf.read(org.settings.configs_dir, config)
    name = TableName(org.dataset, config.table)
    return StepResult(
        rows_processed=merge(org.warehouse, shelf, name, now=org.now()),
        destination_table=str(name),
        details={"prices": len(shelf.book.prices), "edition": shelf.book.edition},
    )


@dataclass(frozen=True, slots=True)
class Shelf:
    """A book beside the schema of the tables that follow it, read once for any number of orgs."""

    book: PriceBook
    schema: TableSchema
    sql_path: Path

    @classmethod
    def read(cls, configs_dir: Path, config: BookFiles) -> Self:
        """Read and check the files.

        Raises:
            PriceBookError: the book is wrong.
            SchemaError: the schema is.
        """
        schema = TableSchema.load(configs_dir / config.schema_file)
        columns = {field.name: field.type for field in schema.fields}
        book = PriceBook.read(configs_dir / config.data_file, columns=columns)
        return cls(book, schema, configs_dir / config.sql_file)

    @property
    def columns(self) -> dict[str, str]:
        """Column → BigQuery type of what the book says."""
        fields = self.schema.fields
        return {one.name: one.type for one in fields if one.name not in FILLED_BY_SEED}


def merge(w: Warehouse, shelf: Shelf, name: TableName, *, now: datetime) -> int:
    """Bring one table's defaults up to the book; how many rows were written or deleted."""
    columns = shelf.columns
    ensure_table(w, name, shelf.schema)
    return run_dml(
        w,
        shelf.sql_path,
        identifiers={
            "dataset": name.dataset,
            "table": name.table,
            "keys": [column for column in KEYS if column in columns],
            "values": [column for column in columns if column not in KEYS],
        },
        params={
            "terms": [struct(price, columns=columns) for price in shelf.book.prices],
            "now": now,
        },
    )


def struct(price: Price, *, columns: Mapping[str, str]) -> dict[str, Typed]:
    """A price as a STRUCT parameter: every column, typed, so that NULL has a type too."""
    return {name: typed(price.values[name], kind) for name, kind in columns.items()}
