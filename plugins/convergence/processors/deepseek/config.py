"""What the DeepSeek step is told."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from convergence.processors.lib.daily.extraction_config import ExtractionConfig
from convergence.processors.lib.field_types import SchemaFile, SqlFile, TableId


class BalanceConfig(ExtractionConfig):
    """Observes DeepSeek's balance once a day and infers spend from how it changed."""

    ps_type: ClassVar[str] = "deepseek.balance"

    table: TableId = "deepseek_balance_daily"
    """Table of the org's dataset that takes the observations."""

    schema_file: SchemaFile = "deepseek/schemas/deepseek_balance_daily.json"
    """That table's schema."""

    previous_file: SqlFile = "deepseek/sql/previous_observation.sql"
    """Reads the observation before a day."""

    source_view: SqlFile | None = None
    """The table's part of cost_daily."""

    top_up_step: int = Field(default=10, ge=1, le=1_000_000)
    """Top-ups are multiples of this in any currency: where the paid balance rose between two
    observations, the least such top-up is assumed and the rest of the change is spend."""

    requests_per_minute: int = Field(default=30, ge=1, le=6000)
    """Most requests to the provider for one org."""

    def daily_tables(self) -> tuple[str, ...]:
        """The balance table has due days."""
        return (self.table,)
