"""The requests of `anthropic.usage` and `anthropic.billed` to Anthropic, of either generation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from convergence.extract.buckets import BucketPages, rfc3339_seconds
from convergence.extract.paginate import CursorPages, ListSource
from convergence.extract.storage.figures import measure_columns
from convergence.extract.stream import Query
from convergence.processors.anthropic.config import (
    COST_GROUPS,
    LEGACY_COST_GROUPS,
    Api,
    BilledConfig,
    UsageConfig,
)
from convergence.processors.anthropic.shape import CENTS, BilledShape, UsageShape
from convergence.processors.context import OrgContext, StepResult
from convergence.processors.lib.daily.day_ranges import DayRange
from convergence.processors.lib.daily.extraction import (
    ReportSpec,
    build_received_money,
    extract_days,
    get_column_types,
)
from convergence.warehouse.schemas import TableSchema

PROVIDER = "anthropic"
ANALYTICS = "/v1/organizations/analytics/"
LEGACY_USAGE = "/v1/organizations/usage_report/messages"
LEGACY_COST = "/v1/organizations/cost_report"
BETAS: Mapping[Api, str] = {
    "analytics": "analytics-usage-cost-2026-08-24",
    # Without this header the older report does not separate fast mode.
    "legacy": "fast-mode-2026-02-01",
}
MAX_ROWS = "1000"
MAX_BUCKETS = "31"
USAGE_REVISION = 1
"""Increase it when `UsageShape` makes other rows of the same responses."""
BILLED_REVISION = 1
"""The same as `USAGE_REVISION`, for `BilledShape`."""

QUANTITIES = {
    "uncached_input_tokens": "uncached input tokens",
    "cache_read_input_tokens": "cache read tokens",
    "cache_write_5m_input_tokens": "5-minute cache write tokens",
    "cache_write_1h_input_tokens": "1-hour cache write tokens",
    "output_tokens": "output tokens",
    "web_search_requests": "web searches",
    "requests": "requests",
}
"""The units of the usage columns that the shrink guard compares."""

# The columns that identify a row of the older cost report, in addition to its workspace.
_LEGACY_COST_KEY = (
    *("description", "cost_type", "token_type", "model", "service_tier"),
    *("context_window", "inference_geo"),
)
Shape = Callable[[Mapping[str, Any]], dict[str, Any]]
Pairs = tuple[tuple[str, str], ...]


def extract_usage(org: OrgContext, config: UsageConfig) -> StepResult:
    """Extract and publish the org's usage; errors as `extract_days`."""
    schema = TableSchema.load(org.settings.configs_dir / config.schema_file)
    unknown: Counter[str] = Counter()
    shape = UsageShape(config.api, columns=get_column_types(schema), unknown=unknown).build_row

    def build_queries(days: DayRange) -> list[Query]:
        if config.api == "analytics":
            return [_row_pages("usage", days, config.group_by, shape)]
        return [_bucket_pages(LEGACY_USAGE, days, config.group_by, shape)]

    return extract_days(
        org,
        ReportSpec(
            provider=PROVIDER,
            table=config.table,
            schema=schema,
            queries=build_queries,
            unique_by=("usage_date", *config.group_by),
            revision=USAGE_REVISION,
            config=config.model_dump(mode="json"),
            requests_per_minute=config.requests_per_minute,
            headers={"anthropic-beta": BETAS[config.api]},
            unknown=unknown,
            raw_days=config.raw_days,
            measure=measure_columns(quantities=QUANTITIES),
            grouping=[config.api, config.group_by],
            shrink_limits=config.shrink_guard.build_limits(),
        ),
    )


def extract_billed(org: OrgContext, config: BilledConfig) -> StepResult:
    """Extract and publish the costs that Anthropic bills; errors as `extract_days`."""
    schema = TableSchema.load(org.settings.configs_dir / config.schema_file)
    unknown: Counter[str] = Counter()
    shape = BilledShape(config.api, columns=get_column_types(schema), unknown=unknown).build_row
    analytics = config.api == "analytics"

    def build_queries(days: DayRange) -> list[Query]:
        if analytics:
            return [_row_pages("cost", days, (*config.group_by, *COST_GROUPS), shape)]
        return [_bucket_pages(LEGACY_COST, days, LEGACY_COST_GROUPS, shape)]

    row_key = (*config.group_by, *COST_GROUPS) if analytics else ("workspace_id", *_LEGACY_COST_KEY)
    return extract_days(
        org,
        ReportSpec(
            provider=PROVIDER,
            table=config.table,
            schema=schema,
            queries=build_queries,
            # A bill in two currencies has a line in each.
            unique_by=("usage_date", "currency", *row_key),
            revision=BILLED_REVISION,
            config=config.model_dump(mode="json"),
            requests_per_minute=config.requests_per_minute,
            headers={"anthropic-beta": BETAS[config.api]},
            money_of=partial(build_received_money, exponent=CENTS),
            source_view=config.source_view,
            unknown=unknown,
            raw_days=config.raw_days,
            measure=measure_columns(amount="billed_cost", quantities={"requests": "requests"}),
            grouping=[config.api, row_key],
            shrink_limits=config.shrink_guard.build_limits(),
        ),
    )


def _row_pages(report: str, days: DayRange, groups: Sequence[str], shape: Shape) -> Query:
    """Return a query for pages of flat rows, in order of time.

    The default order is by metric, and a metric may change between two pages.
    """
    source = ListSource(
        path=ANALYTICS + report,
        params=(
            *_time_params(days),
            ("time_bucket_width", "1d"),
            ("limit", MAX_ROWS),
            ("order_by", "time"),
            *_group_params(groups),
        ),
        more_path="has_more",
    )
    pages = CursorPages(source, param="page", cursor_path="next_page")
    return Query(f"analytics {report}", pages, lambda row: (shape(row),))


def _bucket_pages(path: str, days: DayRange, groups: Sequence[str], shape: Shape) -> Query:
    pages = BucketPages(
        path=path,
        start=int(days.start.timestamp()),
        end=int(days.end.timestamp()),
        params=(
            *_time_params(days),
            ("bucket_width", "1d"),
            ("limit", MAX_BUCKETS),
            *_group_params(groups),
        ),
        start_field="starting_at",
        end_field="ending_at",
        moment=rfc3339_seconds,
    )
    return Query(path.rpartition("/")[2], pages, lambda row: (shape(row),))


def _time_params(days: DayRange) -> Pairs:
    written = "%Y-%m-%dT%H:%M:%SZ"
    return (
        ("starting_at", days.start.strftime(written)),
        ("ending_at", days.end.strftime(written)),
    )


def _group_params(groups: Sequence[str]) -> Pairs:
    return tuple(("group_by[]", group) for group in groups)
