"""Configuration models shared by the steps that price usage and load price books."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Self

from pydantic import BaseModel, Field, model_validator

from convergence.errors import ConfigurationError
from convergence.processors.lib.field_types import (
    ColumnName,
    CsvFile,
    PipelineId,
    ProviderName,
    SchemaFile,
    SqlFile,
    TableId,
)
from convergence.processors.lib.pricing.meters import Meter, meter_groups
from convergence.processors.step_config import (
    ConfigViolation,
    PlatformConfig,
    StepConfig,
    config_error,
)
from convergence.warehouse.schemas import TableSchema

if TYPE_CHECKING:
    from convergence.warehouse.query import Identifiers


class PricingConfig(StepConfig):
    """Prices usage in the warehouse at the org's dated prices."""

    usage_table: TableId
    """Table of the usage."""

    pricing_table: TableId
    """Table of the org's prices."""

    table: TableId
    """Table of the org's dataset that takes the cost."""

    schema_file: SchemaFile
    """That table's schema."""

    sql_file: SqlFile
    """Prices one day: extends `system/sql/prices/price_usage.sql` by the vendor's quantities."""

    meters: tuple[Meter, ...] = Field(min_length=1)
    """The quantities that are charged, each with its rate, in the order of their reasons."""

    price_keys: tuple[ColumnName, ...] = ()
    """Columns of the price table that distinguish the prices of one model and tier; `any` matches
    every value."""

    tool_column: ColumnName = "endpoint"
    """Column of the cost table that names the endpoint or tool that was used."""

    prices_file: SqlFile = "system/sql/prices/prices_in_force.sql"
    """Reads the prices of a range of days."""

    totals_file: SqlFile = "system/sql/prices/cost_totals.sql"
    """Reads one published day's sums by currency."""

    summary_file: SqlFile = "system/sql/prices/cost_summary.sql"
    """Reads the totals of the days and the usage without a price."""

    source_view: SqlFile | None = None
    """View of the table in cost_daily."""

    slices_of: PipelineId | None = None
    """The pipeline whose usage is priced again and whose cost is replaced; null for this one."""

    def daily_tables(self) -> tuple[str, ...]:
        """Return the cost table: it has due days."""
        return (self.table,)

    @model_validator(mode="after")
    def _meters_are_distinct(self) -> Self:
        quantities = [meter.quantity for meter in self.meters]
        if twice := sorted({name for name in quantities if quantities.count(name) > 1}):
            raise config_error(f"{twice[0]} is charged by two meters; keep one")
        return self

    def find_violations(self, folder: Path, *, provider: str | None) -> Iterator[ConfigViolation]:
        """Report meters of quantities that the cost table does not have."""
        del provider
        try:
            schema = TableSchema.load(folder / self.schema_file)
        except ConfigurationError as error:
            yield ConfigViolation(("schema_file",), str(error))
            return
        columns = {field.name for field in schema.fields}
        for index, meter in enumerate(self.meters):
            if meter.quantity not in columns:
                message = f"{self.schema_file} has no column {meter.quantity}"
                yield ConfigViolation(("meters", index, "quantity"), message)

    def identifiers(self, schema: TableSchema, *, dataset: str) -> Identifiers:
        """Return what the step's SQL files may name in double braces.

        Args:
            schema: the cost table's: its columns are what the pricing statement selects.
            dataset: the org's.
        """
        return {
            "dataset": dataset,
            "usage_table": self.usage_table,
            "pricing_table": self.pricing_table,
            "cost_table": self.table,
            "columns": [field.name for field in schema.fields],
            "price_keys": list(self.price_keys),
            "token_meters": meter_groups(self.meters, per="million_tokens"),
            "unit_meters": meter_groups(self.meters, per="unit"),
            "tool_column": self.tool_column,
        }


class BookFiles(BaseModel):
    """A provider's price book and the org's table that takes its defaults."""

    model_config = StepConfig.model_config

    table: TableId
    """Table of the org's dataset, with prices of models or of plans."""

    schema_file: SchemaFile
    """That table's schema."""

    data_file: CsvFile
    """The price book."""

    sql_file: SqlFile = "system/sql/terms/merge_defaults.sql"
    """Updates the table's defaults to the book."""


class PriceSeedConfig(BookFiles, StepConfig):
    """Loads a provider's default prices or plans; the rates that the org set itself stay."""


class RolloutConfig(BookFiles, PlatformConfig):
    """Rolls out a new edition of a price book to every org; lists the past days it would change."""

    provider: ProviderName
    """The provider of the book; orgs that may run its pipelines get the edition."""

    cost_table: TableId | None = None
    """Table of usage priced with the book; null for plans, whose months every run computes."""

    tool_column: ColumnName = "endpoint"
    """Its column that names the tool or endpoint of usage without a model."""

    window_columns: tuple[ColumnName, ...] = ()
    """Its columns that hold a context window: of the price and of the usage."""

    defaults_file: SqlFile = "system/sql/terms/defaults.sql"
    """Reads the defaults in an org's table."""

    days_file: SqlFile = "system/sql/prices/days_to_reprice.sql"
    """Finds the days that were priced with defaults that change."""
