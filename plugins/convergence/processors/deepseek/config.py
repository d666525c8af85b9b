"""Configuration model of the DeepSeek step."""

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
    """Reads the last observation before a day."""

    source_view: SqlFile | None = None
    """View of the table in cost_daily."""

    top_up_step: int = Field(default=10, ge=1, le=1_000_000)
    """The amount, in any currency, that every top-up is a multiple of. Where the paid balance rises
    between two observations, the smallest such top-up is assumed; the difference is spend."""

    requests_per_minute: int = Field(default=30, ge=1, le=6000)
    """Maximum number of requests per minute to the provider for one org."""

    def daily_tables(self) -> tuple[str, ...]:
        """Return the balance table: it has due days."""
        return (self.table,)
