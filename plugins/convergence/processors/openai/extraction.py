"""The requests of `openai.usage` and `openai.billed` to OpenAI."""

from __future__ import annotations

from collections import Counter

from convergence.extract.buckets import BucketPages
from convergence.extract.storage.figures import measure_columns
from convergence.extract.stream import Query
from convergence.processors.context import OrgContext, StepResult
from convergence.processors.lib.daily.day_ranges import DayRange
from convergence.processors.lib.daily.extraction import (
    ReportSpec,
    build_received_money,
    extract_days,
    get_column_types,
)
from convergence.processors.openai.config import BilledConfig, UsageConfig, UsageEndpoint
from convergence.processors.openai.shape import BilledShape, UsageShape
from convergence.warehouse.schemas import TableSchema

PROVIDER = "openai"
USAGE_PATH = "/organization/usage/"
COSTS_PATH = "/organization/costs"
USAGE_REVISION = 1
"""Increase it when `UsageShape` makes other rows of the same responses."""
BILLED_REVISION = 1
"""The same as `USAGE_REVISION`, for `BilledShape`."""

QUANTITIES = {
    "input_tokens": "input tokens",
    "output_tokens": "output tokens",
    "images": "images",
    "characters": "characters",
    "seconds": "seconds",
    "usage_bytes": "bytes",
    "num_sessions": "sessions",
    "num_requests": "requests",
    "num_model_requests": "model requests",
}
"""The units of the usage columns that the shrink guard compares."""
MEASURE_BILL = measure_columns(amount="billed_cost", quantity="quantity", unit="quantity_unit")
"""How the shrink guard measures a line of the bill: lines above 0."""


def extract_usage(org: OrgContext, config: UsageConfig) -> StepResult:
    """Extract and publish the org's usage; errors as `extract_days`."""
    schema = TableSchema.load(org.settings.configs_dir / config.schema_file)
    columns = get_column_types(schema)
    unknown: Counter[str] = Counter()

    def build_query(endpoint: UsageEndpoint, days: DayRange) -> Query:
        shape = UsageShape(endpoint.endpoint, columns=columns, unknown=unknown)
        pages = _bucket_pages(
            days,
            path=USAGE_PATH + endpoint.endpoint,
            limit=config.buckets_per_page,
            group_by=endpoint.group_by,
        )
        return Query(endpoint.endpoint, pages, lambda result: (shape.build_row(result),))

    # A day of an endpoint has each combination of groups once.
    groups = {key for endpoint in config.endpoints for key in endpoint.group_by}
    return extract_days(
        org,
        ReportSpec(
            provider=PROVIDER,
            table=config.table,
            schema=schema,
            queries=lambda days: [build_query(endpoint, days) for endpoint in config.endpoints],
            unique_by=("usage_date", "endpoint", *sorted(groups)),
            revision=USAGE_REVISION,
            config=config.model_dump(mode="json"),
            requests_per_minute=config.requests_per_minute,
            unknown=unknown,
            raw_days=config.raw_days,
            measure=measure_columns(quantities=QUANTITIES),
            grouping=[one.model_dump(mode="json") for one in config.endpoints],
            shrink_limits=config.shrink_guard.build_limits(),
        ),
    )


def extract_billed(org: OrgContext, config: BilledConfig) -> StepResult:
    """Extract and publish the costs that OpenAI bills; errors as `extract_days`."""
    schema = TableSchema.load(org.settings.configs_dir / config.schema_file)
    unknown: Counter[str] = Counter()
    shape = BilledShape(columns=get_column_types(schema), unknown=unknown)

    def build_queries(days: DayRange) -> list[Query]:
        pages = _bucket_pages(
            days, path=COSTS_PATH, limit=config.buckets_per_page, group_by=config.group_by
        )
        return [Query("costs", pages, lambda result: (shape.build_row(result),))]

    return extract_days(
        org,
        ReportSpec(
            provider=PROVIDER,
            table=config.table,
            schema=schema,
            queries=build_queries,
            # A bill in two currencies has a line in each.
            unique_by=("usage_date", "currency", *config.group_by),
            revision=BILLED_REVISION,
            config=config.model_dump(mode="json"),
            requests_per_minute=config.requests_per_minute,
            money_of=build_received_money,
            source_view=config.source_view,
            unknown=unknown,
            raw_days=config.raw_days,
            measure=MEASURE_BILL,
            grouping=config.group_by,
            shrink_limits=config.shrink_guard.build_limits(),
        ),
    )


def _bucket_pages(
    days: DayRange, *, path: str, limit: int, group_by: tuple[str, ...]
) -> BucketPages:
    start, end = int(days.start.timestamp()), int(days.end.timestamp())
    return BucketPages(
        path=path,
        start=start,
        end=end,
        params=(
            ("start_time", str(start)),
            ("end_time", str(end)),
            ("bucket_width", "1d"),
            ("limit", str(limit)),
            *(("group_by[]", key) for key in group_by),
        ),
    )
