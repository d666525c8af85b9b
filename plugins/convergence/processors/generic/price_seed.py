"""A provider's price book into an org's price table: checked whole, then merged at once."""

from __future__ import annotations

from collections.abc import Mapping

from convergence.processors.context import OrgContext, StepResult
from convergence.processors.generic.config import PriceSeedConfig
from convergence.processors.generic.price_book import (
    FILLED_BY_SEED,
    SKU_COLUMNS,
    Price,
    PriceBook,
)
from convergence.warehouse.evolve import ensure_table
from convergence.warehouse.names import TableName
from convergence.warehouse.params import Typed, typed
from convergence.warehouse.query import changed_rows
from convergence.warehouse.schemas import TableSchema

KEYS = (*SKU_COLUMNS, "effective_from")
"""What names a default in the price table."""


def seed_prices(org: OrgContext, config: PriceSeedConfig) -> StepResult:
    """Bring the default prices up to the book; what the org maintains itself stays.

    The SQL is a MERGE that takes `@prices` and `@now`, and the columns of the book by name.

    Raises:
        PriceBookError: the book is wrong; nothing is written.
    """
    folder = org.settings.configs_dir
    schema = TableSchema.load(folder / config.schema_file)
    columns = {field.name: field.type for field in schema.fields}
    book = PriceBook.read(folder / config.data_file, columns=columns)
    name = TableName(org.dataset, config.table)
    ensure_table(org.warehouse, name, schema)
    in_book = {column: kind for column, kind in columns.items() if column not in FILLED_BY_SEED}
    changed = changed_rows(
        org.warehouse,
        folder / config.sql_file,
        identifiers={
            "dataset": org.dataset,
            "pricing_table": config.table,
            "keys": [column for column in KEYS if column in in_book],
            "values": [column for column in in_book if column not in KEYS],
        },
        params={
            "prices": [struct(price, columns=in_book) for price in book.prices],
            "now": org.now(),
        },
    )
    return StepResult(
        rows_processed=changed,
        destination_table=str(name),
        facts={"prices": len(book.prices), "editions": sorted(editions(book))},
    )


def struct(price: Price, *, columns: Mapping[str, str]) -> dict[str, Typed]:
    """A price as a STRUCT parameter: every column, typed, so that NULL has a type too."""
    return {name: typed(price.values[name], kind) for name, kind in columns.items()}


def editions(book: PriceBook) -> set[str]:
    """The editions that the book's lines name."""
    return {str(price.values["price_version"]) for price in book.prices}
