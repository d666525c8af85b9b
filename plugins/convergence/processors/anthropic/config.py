"""Configuration models of the Anthropic steps."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from convergence.processors.lib.daily.guarded_config import GuardedExtractionConfig
from convergence.processors.lib.field_types import ColumnName, SchemaFile, SqlFile, TableId
from convergence.processors.lib.pricing.meters import Meter
from convergence.processors.lib.pricing.pricing_config import PricingConfig
from convergence.processors.step_config import check_groups, config_error

Api = Literal["analytics", "legacy"]

# https://platform.claude.com/docs/en/manage-claude/usage-cost-analytics-api and
# https://platform.claude.com/docs/en/manage-claude/usage-cost-api: the accepted groups.
ANALYTICS_GROUPS = (
    *("actor", "actor_type", "agent_id", "api_key_id", "claude_tag_category"),
    *("claude_tag_user_id", "context_window", "deployment_id", "environment_id"),
    *("inference_geo", "model", "organization_id", "product", "service_tier"),
    *("session_id", "slack_channel_id", "speed", "user_profile_id", "workspace_id"),
)
"""rbac_group_id is left out: its rows overlap, so that their sum is not a total."""
LEGACY_GROUPS = (
    *("account_id", "api_key_id", "context_window", "inference_geo", "model"),
    *("service_account_id", "service_tier", "speed", "workspace_id"),
)
MAX_ANALYTICS_GROUPS = 5
PRICED_BY = ("model", "service_tier", "context_window", "speed")
"""The groups without which a row can't be priced."""
COST_GROUPS = ("cost_type", "token_type")
"""The analytics' cost is always grouped by these too; they do not count towards the maximum."""
LEGACY_COST_GROUPS = ("workspace_id", "description")
"""The only groups of the older cost report; both are always requested."""


class _ReportConfig(GuardedExtractionConfig):
    api: Api = "analytics"
    """The generation of Anthropic's reports: analytics, or the older legacy."""

    group_by: tuple[str, ...] = Field(
        default=("workspace_id", "model", "service_tier", "context_window", "speed"), min_length=1
    )
    """The groups that the figures are split by."""

    requests_per_minute: int = Field(default=30, ge=1, le=6000)
    """Maximum number of requests per minute to the provider for one org."""

    @model_validator(mode="after")
    def _check_report_groups(self) -> Self:
        accepted = ANALYTICS_GROUPS if self.api == "analytics" else LEGACY_GROUPS
        check_groups(self.group_by, accepted=accepted, what=f"the {self.api} report")
        if self.api == "analytics" and len(self.group_by) > MAX_ANALYTICS_GROUPS:
            raise config_error(f"the analytics report takes at most {MAX_ANALYTICS_GROUPS} groups")
        return self


class UsageConfig(_ReportConfig):
    """Extracts Anthropic's usage by UTC day, with caches, batch and web searches separate."""

    ps_type: ClassVar[str] = "anthropic.usage"

    table: TableId = "anthropic_usage_daily_raw"
    """Table of the org's dataset that takes the usage."""

    schema_file: SchemaFile = "anthropic/cost/schemas/anthropic_usage_daily_raw.json"
    """That table's schema; a field without a column goes to `extra`."""

    @model_validator(mode="after")
    def _check_priced_groups(self) -> Self:
        if missing := [key for key in PRICED_BY if key not in self.group_by]:
            raise config_error(f"add {', '.join(missing)}: without it, usage can't be priced")
        return self

    def daily_tables(self) -> tuple[str, ...]:
        """Return the usage table: it has due days."""
        return (self.table,)


METERS = (
    Meter(quantity="uncached_input_tokens", rate="input_per_million", no_rate="no_rate_input"),
    Meter(
        quantity="cache_read_input_tokens",
        rate="cached_input_per_million",
        no_rate="no_rate_cached_input",
    ),
    Meter(
        quantity="cache_write_5m_input_tokens",
        rate="cache_write_5m_per_million",
        no_rate="no_rate_cache_write",
    ),
    Meter(
        quantity="cache_write_1h_input_tokens",
        rate="cache_write_1h_per_million",
        no_rate="no_rate_cache_write",
    ),
    Meter(quantity="output_tokens", rate="output_per_million", no_rate="no_rate_output"),
    Meter(quantity="web_search_requests", rate="unit_price", no_rate="no_rate_unit", per="unit"),
)
"""Meters of Anthropic. Rates: https://platform.claude.com/docs/en/about-claude/pricing."""


class CostConfig(PricingConfig):
    """Prices Anthropic usage in the warehouse at the org's dated prices."""

    ps_type: ClassVar[str] = "anthropic.cost"

    usage_table: TableId = "anthropic_usage_daily_raw"
    """Table of the usage."""

    pricing_table: TableId = "anthropic_model_pricing"
    """Table of the org's prices."""

    table: TableId = "anthropic_cost_daily"
    """Table of the org's dataset that takes the cost."""

    schema_file: SchemaFile = "anthropic/cost/schemas/anthropic_cost_daily.json"
    """That table's schema."""

    sql_file: SqlFile = "anthropic/cost/sql/price_usage.sql"
    """Prices one day: Anthropic's part of the shared pricing statement."""

    meters: tuple[Meter, ...] = METERS
    """The quantities that are charged, each with its rate, in the order of their reasons."""

    price_keys: tuple[ColumnName, ...] = ("context_window",)
    """Columns of the price table that distinguish the prices of one model and tier."""

    tool_column: ColumnName = "cost_type"
    """Column of the cost table that distinguishes tokens from web searches."""


class BilledConfig(_ReportConfig):
    """Extracts the costs that Anthropic bills, by UTC day, in the main unit of the currency."""

    ps_type: ClassVar[str] = "anthropic.billed"

    table: TableId = "anthropic_billed_daily"
    """Table of the org's dataset that takes the bill."""

    schema_file: SchemaFile = "anthropic/cost/schemas/anthropic_billed_daily.json"
    """That table's schema; a field without a column goes to `extra`."""

    source_view: SqlFile | None = None
    """View of the table in cost_daily."""

    def daily_tables(self) -> tuple[str, ...]:
        """Return the billed table: it has due days."""
        return (self.table,)
