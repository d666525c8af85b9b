"""What `anthropic.usage` and `anthropic.billed` ask Anthropic for, in either generation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from convergence.extract.buckets import BucketPages, rfc3339_seconds
from convergence.extract.paginate import CursorPages, ListSource
from convergence.extract.stream import Query
from convergence.processors.anthropic.config import (
    COST_GROUPS,
    LEGACY_COST_GROUPS,
    Api,
    BilledConfig,
    UsageConfig,
)
from convergence.processors.anthropic.shape import BilledShape, UsageShape
from convergence.processors.context import OrgContext, StepResult
from convergence.processors.lib.daily.day_ranges import DayRange
from convergence.processors.lib.daily.extraction import (
    DailySource,
    billed,
    columns_of,
    extract_days,
)
from convergence.processors.lib.daily.reconciliation import add_reconciliation
from convergence.warehouse.schemas import TableSchema

PROVIDER = "anthropic"
ANALYTICS = "/v1/organizations/analytics/"
LEGACY_USAGE = "/v1/organizations/usage_report/messages"
LEGACY_COST = "/v1/organizations/cost_report"
BETAS: Mapping[Api, str] = {
    "analytics": "analytics-usage-cost-2026-08-24",
    # Without it the older report can't tell fast mode.
    "legacy": "fast-mode-2026-02-01",
}
MOST_ROWS = "1000"
MOST_BUCKETS = "31"
USAGE_REVISION = 1
"""Rises when `UsageShape` makes other rows of the same answers."""
BILLED_REVISION = 1
"""The same for `BilledShape`."""

# What tells a row of the older cost report from another, beside its workspace.
_DESCRIBED = (
    *("description", "cost_type", "token_type", "model", "service_tier"),
    *("context_window", "inference_geo"),
)
Shape = Callable[[Mapping[str, Any]], dict[str, Any]]
Pairs = tuple[tuple[str, str], ...]


def extract_usage(org: OrgContext, config: UsageConfig) -> StepResult:
    """Extract and publish the org's usage; errors as `extract_days`."""
    schema = TableSchema.load(org.settings.configs_dir / config.schema_file)
    unknown: Counter[str] = Counter()
    shape = UsageShape(config.api, columns=columns_of(schema), unknown=unknown).row

    def queries(days: DayRange) -> list[Query]:
        if config.api == "analytics":
            return [_rows("usage", days, config.group_by, shape)]
        return [_buckets(LEGACY_USAGE, days, config.group_by, shape)]

    return extract_days(
        org,
        DailySource(
            provider=PROVIDER,
            table=config.table,
            schema=schema,
            queries=queries,
            unique_by=("usage_date", *config.group_by),
            revision=USAGE_REVISION,
            config=config.model_dump(mode="json"),
            requests_per_minute=config.requests_per_minute,
            headers={"anthropic-beta": BETAS[config.api]},
            unknown=unknown,
            raw_days=config.raw_days,
        ),
    )


def extract_billed(org: OrgContext, config: BilledConfig) -> StepResult:
    """Extract and publish what Anthropic says it bills; errors as `extract_days`."""
    schema = TableSchema.load(org.settings.configs_dir / config.schema_file)
    unknown: Counter[str] = Counter()
    shape = BilledShape(config.api, columns=columns_of(schema), unknown=unknown).row
    analytics = config.api == "analytics"

    def queries(days: DayRange) -> list[Query]:
        if analytics:
            return [_rows("cost", days, (*config.group_by, *COST_GROUPS), shape)]
        return [_buckets(LEGACY_COST, days, LEGACY_COST_GROUPS, shape)]

    told = (*config.group_by, *COST_GROUPS) if analytics else ("workspace_id", *_DESCRIBED)
    result = extract_days(
        org,
        DailySource(
            provider=PROVIDER,
            table=config.table,
            schema=schema,
            queries=queries,
            # A bill in two currencies has a line in each.
            unique_by=("usage_date", "currency", *told),
            revision=BILLED_REVISION,
            config=config.model_dump(mode="json"),
            requests_per_minute=config.requests_per_minute,
            headers={"anthropic-beta": BETAS[config.api]},
            money_of=billed,
            source_view=config.source_view,
            unknown=unknown,
            raw_days=config.raw_days,
        ),
    )
    return add_reconciliation(org, result)


def _rows(report: str, days: DayRange, groups: Sequence[str], shape: Shape) -> Query:
    """Pages of flat rows. Unless asked for by time they sort by metric, which changes meanwhile."""
    source = ListSource(
        path=ANALYTICS + report,
        params=(
            *_window(days),
            ("time_bucket_width", "1d"),
            ("limit", MOST_ROWS),
            ("order_by", "time"),
            *_groups(groups),
        ),
        more_path="has_more",
    )
    pages = CursorPages(source, param="page", cursor_path="next_page")
    return Query(f"analytics {report}", pages, lambda row: (shape(row),))


def _buckets(path: str, days: DayRange, groups: Sequence[str], shape: Shape) -> Query:
    pages = BucketPages(
        path=path,
        start=int(days.start.timestamp()),
        end=int(days.end.timestamp()),
        params=(
            *_window(days),
            ("bucket_width", "1d"),
            ("limit", MOST_BUCKETS),
            *_groups(groups),
        ),
        start_field="starting_at",
        end_field="ending_at",
        moment=rfc3339_seconds,
    )
    return Query(path.rpartition("/")[2], pages, lambda row: (shape(row),))


def _window(days: DayRange) -> Pairs:
    written = "%Y-%m-%dT%H:%M:%SZ"
    return (
        ("starting_at", days.start.strftime(written)),
        ("ending_at", days.end.strftime(written)),
    )


def _groups(groups: Sequence[str]) -> Pairs:
    return tuple(("group_by[]", group) for group in groups)
