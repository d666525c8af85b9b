"""Configuration models of the OpenAI steps."""

from __future__ import annotations

from typing import ClassVar, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

from convergence.processors.lib.daily.guarded_config import GuardedExtractionConfig
from convergence.processors.lib.field_types import CsvFile, SchemaFile, SqlFile, TableId
from convergence.processors.lib.pricing.meters import Meter
from convergence.processors.lib.pricing.pricing_config import PriceSeedConfig, PricingConfig
from convergence.processors.step_config import StepConfig, check_groups, config_error

_OWNERS = ("project_id", "user_id", "api_key_id")
_MODEL = (*_OWNERS, "model")

# https://platform.openai.com/docs/api-reference/usage: the groups that each endpoint accepts.
GROUPABLE: dict[str, tuple[str, ...]] = {
    "completions": (*_MODEL, "batch", "service_tier", "api_source"),
    "embeddings": _MODEL,
    "moderations": _MODEL,
    "images": (*_MODEL, "size", "source"),
    "audio_speeches": _MODEL,
    "audio_transcriptions": _MODEL,
    "vector_stores": ("project_id",),
    "code_interpreter_sessions": ("project_id",),
    "file_search_calls": (*_OWNERS, "vector_store_id"),
    "web_search_calls": (*_MODEL, "context_level"),
}
PRICED_BY: dict[str, tuple[str, ...]] = {
    "completions": ("model", "batch", "service_tier"),
    "embeddings": ("model",),
    "moderations": ("model",),
    "audio_speeches": ("model",),
    "audio_transcriptions": ("model",),
}
"""The groups without which a result can't be priced."""

Endpoint = Literal[
    "completions",
    "embeddings",
    "moderations",
    "images",
    "audio_speeches",
    "audio_transcriptions",
    "vector_stores",
    "code_interpreter_sessions",
    "file_search_calls",
    "web_search_calls",
]
GroupKey = Literal[
    "project_id",
    "user_id",
    "api_key_id",
    "model",
    "batch",
    "service_tier",
    "api_source",
    "size",
    "source",
    "vector_store_id",
    "context_level",
]

BilledKey = Literal["project_id", "user_id", "line_item", "api_key_id", "api_source"]


class UsageEndpoint(BaseModel):
    """One usage endpoint and how its results are grouped."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    endpoint: Endpoint
    """Last part of the path below /organization/usage/."""

    group_by: tuple[GroupKey, ...] = Field(min_length=1)
    """The groups that results are split by."""

    @model_validator(mode="after")
    def _check_endpoint_groups(self) -> Self:
        accepted = GROUPABLE[self.endpoint]
        check_groups(self.group_by, accepted=accepted, what=self.endpoint)
        if missing := [k for k in PRICED_BY.get(self.endpoint, ()) if k not in self.group_by]:
            raise config_error(
                f"add {', '.join(missing)}: without it, {self.endpoint} can't be priced"
            )
        return self


class UsageConfig(GuardedExtractionConfig):
    """Extracts OpenAI's usage by UTC day, every documented field."""

    ps_type: ClassVar[str] = "openai.usage"

    table: TableId = "openai_usage_daily_raw"
    """Table of the org's dataset that takes the usage."""

    schema_file: SchemaFile = "openai/cost/schemas/openai_usage_daily_raw.json"
    """That table's schema; a field without a column goes to `extra`."""

    endpoints: tuple[UsageEndpoint, ...] = Field(min_length=1)
    """The usage endpoints to read."""

    buckets_per_page: int = Field(default=7, ge=1, le=31)
    """Days in one response of the provider."""

    requests_per_minute: int = Field(default=60, ge=1, le=6000)
    """Maximum number of requests per minute to the provider for one org."""

    @model_validator(mode="after")
    def _check_endpoints(self) -> Self:
        names = [one.endpoint for one in self.endpoints]
        if len(set(names)) != len(names):
            raise config_error("an endpoint is listed twice")
        return self

    def daily_tables(self) -> tuple[str, ...]:
        """Return the usage table: it has due days."""
        return (self.table,)


METERS = (
    Meter(quantity="units", rate="unit_price", no_rate="no_rate_unit", per="unit"),
    Meter(quantity="input_tokens", rate="input_per_million", no_rate="no_rate_input"),
    Meter(
        quantity="cached_input_tokens",
        rate="cached_input_per_million",
        no_rate="no_rate_cached_input",
    ),
    Meter(
        quantity="cache_write_tokens",
        rate="cache_write_per_million",
        no_rate="no_rate_cache_write",
    ),
    Meter(
        quantity="cache_write_12h_tokens",
        rate="cache_write_12h_per_million",
        fallback_rate="cache_write_per_million",
        fallback_caveat="cache_write_12h_at_common_rate",
        no_rate="no_rate_cache_write",
    ),
    Meter(quantity="output_tokens", rate="output_per_million", no_rate="no_rate_output"),
    Meter(
        quantity="audio_input_tokens",
        rate="audio_input_per_million",
        no_rate="no_rate_audio_input",
    ),
    Meter(
        quantity="cached_audio_input_tokens",
        rate="cached_audio_input_per_million",
        no_rate="no_rate_cached_audio_input",
    ),
    Meter(
        quantity="audio_output_tokens",
        rate="audio_output_per_million",
        no_rate="no_rate_audio_output",
    ),
    # No list has a rate for images by the token.
    Meter(quantity="image_output_tokens", no_rate="no_rate_image_output"),
)
"""Meters of OpenAI. Rates: https://platform.openai.com/docs/pricing."""


class CostConfig(PricingConfig):
    """Prices OpenAI usage in the warehouse at the org's dated prices."""

    ps_type: ClassVar[str] = "openai.cost"

    usage_table: TableId = "openai_usage_daily_raw"
    """Table of the usage."""

    pricing_table: TableId = "openai_model_pricing"
    """Table of the org's prices."""

    table: TableId = "openai_cost_daily"
    """Table of the org's dataset that takes the cost."""

    schema_file: SchemaFile = "openai/cost/schemas/openai_cost_daily.json"
    """That table's schema."""

    sql_file: SqlFile = "openai/cost/sql/price_usage.sql"
    """Prices one day: OpenAI's part of the shared pricing statement."""

    meters: tuple[Meter, ...] = METERS
    """The quantities that are charged, each with its rate, in the order of their reasons."""


class BilledConfig(GuardedExtractionConfig):
    """Extracts the costs that OpenAI bills, by UTC day, from its costs endpoint."""

    ps_type: ClassVar[str] = "openai.billed"

    table: TableId = "openai_billed_daily"
    """Table of the org's dataset that takes the bill."""

    schema_file: SchemaFile = "openai/cost/schemas/openai_billed_daily.json"
    """That table's schema; a field without a column goes to `extra`."""

    source_view: SqlFile | None = None
    """View of the table in cost_daily."""

    group_by: tuple[BilledKey, ...] = Field(
        default=("project_id", "line_item", "api_key_id"), min_length=1
    )
    """The groups that costs are split by; without line_item there are no quantities."""

    buckets_per_page: int = Field(default=31, ge=1, le=180)
    """Days in one response of the provider."""

    requests_per_minute: int = Field(default=60, ge=1, le=6000)
    """Maximum number of requests per minute to the provider for one org."""

    @model_validator(mode="after")
    def _check_cost_groups(self) -> Self:
        check_groups(self.group_by, accepted=get_args(BilledKey), what="costs")
        if {"user_id", "project_id"} <= set(self.group_by):
            raise config_error("costs can't be grouped by user_id and project_id together")
        return self

    def daily_tables(self) -> tuple[str, ...]:
        """Return the billed table: it has due days."""
        return (self.table,)


class SubscriptionsConfig(StepConfig):
    """Publishes the monthly cost of the org's seats, prorated where plans change in a month."""

    ps_type: ClassVar[str] = "openai.subscriptions"

    table: TableId = "openai_subscriptions_monthly"
    """Table of the org's dataset that takes the months."""

    schema_file: SchemaFile = "openai/schemas/openai_subscriptions_monthly.json"
    """That table's schema."""

    plans_table: TableId = "openai_subscriptions"
    """Table of the org's plans."""

    plans_file: SqlFile = "openai/sql/plans.sql"
    """Reads them."""

    source_view: SqlFile | None = None
    """View of the table in cost_daily."""

    months: int = Field(default=3, ge=0, le=24)
    """Past months to compute again in addition to the present one, where no days are requested."""


class SeedCsvConfig(PriceSeedConfig):
    """Loads OpenAI's default prices into the org's price table; the org's own rates stay."""

    ps_type: ClassVar[str] = "openai.seed_csv"

    table: TableId = "openai_model_pricing"
    """Price table of the org's dataset."""

    schema_file: SchemaFile = "openai/seed/schemas/openai_model_pricing.json"
    """That table's schema."""

    data_file: CsvFile = "openai/seed/data/default_pricing.csv"
    """The price book."""
