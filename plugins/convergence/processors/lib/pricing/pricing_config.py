"""Configuration models shared by the steps that price usage and load price books."""

from __future__ import annotations

from pydantic import BaseModel

from convergence.processors.lib.field_types import (
    ColumnName,
    CsvFile,
    PipelineId,
    ProviderName,
    SchemaFile,
    SqlFile,
    TableId,
)
from convergence.processors.step_config import PlatformConfig, StepConfig


class PricingConfig(StepConfig):
    """Prices usage in the warehouse at the org's dated prices."""

    usage_table: TableId
    """Where the usage is."""

    pricing_table: TableId
    """Where the org's prices are."""

    table: TableId
    """Table of the org's dataset that takes the cost."""

    schema_file: SchemaFile
    """That table's schema."""

    sql_file: SqlFile
    """Prices one day."""

    prices_file: SqlFile = "system/sql/prices/prices_in_force.sql"
    """Reads the prices that matter for a range of days."""

    totals_file: SqlFile = "system/sql/prices/cost_totals.sql"
    """Reads one published day's sums by currency."""

    summary_file: SqlFile
    """Reads what the days came to and what has no price."""

    source_view: SqlFile | None = None
    """The table's part of cost_daily."""

    slices_of: PipelineId | None = None
    """The pipeline whose usage is priced again and whose cost is replaced; this one when absent."""

    def tables(self) -> tuple[str, ...]:
        """The cost table has due days."""
        return (self.table,)


class BookFiles(BaseModel):
    """A provider's price book and the org's table that follows it."""

    model_config = StepConfig.model_config

    table: TableId
    """Table of the org's dataset, of prices or of plans."""

    schema_file: SchemaFile
    """That table's schema."""

    data_file: CsvFile
    """The price book."""

    sql_file: SqlFile = "system/sql/terms/merge_defaults.sql"
    """Brings the table up to the book."""


class PriceSeedConfig(BookFiles, StepConfig):
    """Loads a provider's default prices or plans into the org's table; the org's own stay."""


class RolloutConfig(BookFiles, PlatformConfig):
    """Brings a new edition of a price book to every org; says which past days it would change."""

    provider: ProviderName
    """Whose book it is; orgs that may run its pipelines get the edition."""

    cost_table: TableId | None = None
    """Table of usage priced with the book; absent for plans, whose months are made anew anyway."""

    tool_column: ColumnName = "endpoint"
    """Its column that names the tool or endpoint of usage that no model's tokens tell."""

    window_columns: tuple[ColumnName, ...] = ()
    """Its columns that name a context window: the price's and the usage's."""

    defaults_file: SqlFile = "system/sql/terms/defaults.sql"
    """Reads an org's present defaults."""

    days_file: SqlFile = "system/sql/prices/days_to_reprice.sql"
    """Finds days that were priced with defaults that change."""
