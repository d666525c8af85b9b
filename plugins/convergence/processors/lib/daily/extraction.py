"""Extract a provider's daily figures into the org's table: fetch ranges of days, publish each day.

A `ReportSpec` describes what differs between providers. This module fetches the days, resumes after
a crash and packs the rows of each day; `slices` publishes them.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from convergence.errors import NotFoundError
from convergence.extract.http import OriginClient
from convergence.extract.ratelimit import Allowance, RequestRate
from convergence.extract.retry import Retrier, RetryPolicy
from convergence.extract.spool import Spool, day_from_field, fingerprint_of
from convergence.extract.storage.figures import FigureSpec, RowFigures, build_query_version
from convergence.extract.stream import Query, extract_pages
from convergence.processors.context import OrgContext, StepResult
from convergence.processors.lib.daily.cost_view import show_in_cost_daily
from convergence.processors.lib.daily.day_ranges import DayRange, split_into_ranges
from convergence.processors.lib.daily.day_source import DayContent, DaySource
from convergence.processors.lib.daily.fields import DAY_COLUMN
from convergence.processors.lib.daily.kept_responses import open_quarantine, open_raw_pages
from convergence.processors.lib.daily.observed import sort_observed_days
from convergence.processors.lib.daily.slices import find_days_done_before, publish_days
from convergence.providers.authorization import authorize
from convergence.providers.registry import RetryConfig, load_registry
from convergence.runs.publisher import Attempt
from convergence.runs.shrink_guard import ShrinkLimits
from convergence.warehouse.day_file import DayFile, Money
from convergence.warehouse.names import TableName
from convergence.warehouse.schemas import TableSchema
from convergence.warehouse.tables.evolve import ensure_table


@dataclass(frozen=True, kw_only=True)
class ReportSpec:
    """Description of one report of a provider: its requests, its rows and its table.

    Attributes:
        provider: the provider's id.
        table: the table's name in the org's dataset.
        schema: the table's schema; `usage_date` is its day.
        queries: builds the queries for a range of days.
        unique_by: fields that together identify a row of a day.
        revision: raise it when the same responses make other rows; old pages are then not used.
        config: the step's configuration; with the schema and the origin it decides whether pages
            of an earlier try may be used.
        requests_per_minute: maximum number of requests to the provider for one org.
        headers: sent in addition to the headers of the registry.
        money_of: returns the amount that a row adds to its day's totals.
        longest: maximum number of days in one range.
        source_view: SQL file of the table's part of cost_daily.
        connect: builds the client; by default the client of the provider in the registry.
        rate: how often the provider may be asked, in place of `requests_per_minute`.
        retry: the retry policy of a page; by default the policy of the provider.
        day_column: column with the day of a row.
        batch_rows: as `stream.extract_pages` takes it.
        observed_on: where the provider reports only the present, the one day that can be requested;
            other days keep their content, and are NOT_OBSERVABLE in the ledger.
        unknown: counts each field without a column; read it after all rows were read.
        raw_days: for how many days raw responses are kept; 0 keeps none.
        measure: what a row adds to the figures that the shrink guard compares.
        grouping: the query and its groups, as JSON values: row counts are compared only between
            reads with the same grouping.
        shrink_limits: limits of the shrink guard.
        end_proved: whether the responses prove that all rows were read.
    """

    provider: str
    table: str
    schema: TableSchema
    queries: Callable[[DayRange], Sequence[Query]]
    unique_by: tuple[str, ...]
    revision: int
    config: Mapping[str, Any]
    requests_per_minute: int = 30
    headers: Mapping[str, str] = field(default_factory=dict)
    money_of: Callable[[Mapping[str, Any]], Money | None] | None = None
    longest: int = 31
    source_view: str | None = None
    connect: Callable[[OrgContext], OriginClient] | None = None
    rate: RequestRate | None = None
    retry: RetryPolicy | None = None
    day_column: str = DAY_COLUMN
    batch_rows: int = 1
    observed_on: date | None = None
    unknown: Mapping[str, int] = field(default_factory=dict)
    raw_days: int = 0
    measure: Callable[[Mapping[str, Any]], RowFigures | None]
    grouping: object
    shrink_limits: ShrinkLimits
    end_proved: bool = True

    def build_figure_spec(self) -> FigureSpec | None:
        """Return how the rows of a day are measured.

        An observation states the present: a later one of the same day may hold less, so the two
        are not compared.
        """
        if self.observed_on is not None:
            return None
        query_version = build_query_version(self.revision, self.schema, grouping=self.grouping)
        return FigureSpec(query_version=query_version, measure=self.measure)


def get_column_types(schema: TableSchema) -> dict[str, str]:
    """Return the BigQuery type of each column."""
    return {one.name: one.type for one in schema.fields}


def build_billed_money(row: Mapping[str, Any]) -> Money:
    """Return the amount that a row of a provider's bill adds to its day.

    The row was read from disk, where amounts are text.
    """
    return Money(row["currency"], "billed", Decimal(row["billed_cost"]))


def build_received_money(row: Mapping[str, Any], *, exponent: int = 0) -> Money:
    """Return the exact amount of a row of a provider's bill, as the provider wrote it.

    The day's sum is rounded, not each line.

    Args:
        row: with `amount_received` and `currency`.
        exponent: power of ten that makes the main unit of the amount; -2 for cents.
    """
    amount = Decimal(row["amount_received"]).scaleb(exponent)
    return Money(row["currency"], "billed", amount)


def extract_days(org: OrgContext, report: ReportSpec) -> StepResult:
    """Extract and publish the org's days.

    Raises:
        ProviderUnavailableError: the provider does not respond; pages read so far are kept.
        ProviderRejectedError: the provider rejects the credential or the request.
        ProviderProtocolError: a response breaks the documented shape.
    """
    table = TableName(org.dataset, report.table)
    if not org.days:
        return StepResult(status="SKIPPED", destination_table=str(table))
    ensure_table(org.warehouse, table, report.schema)
    show_in_cost_daily(org, report.source_view)
    before = find_days_done_before(org, table=report.table)
    observed = None
    if report.observed_on is not None:
        observed = sort_observed_days(org, table=report.table, observable=report.observed_on)
    days = org.days if observed is None else observed.pending
    pending = sorted(set(days) - before, reverse=True)
    with _connect(org, report) as client:
        published = publish_days(org, DailyExtraction(org, report, client), pending)
    details: dict[str, Any] = {**published.build_details(), "days_done_before": len(before)}
    if observed is not None:
        details |= observed.build_details()
    if report.unknown:
        details["unknown_fields"] = dict(sorted(report.unknown.items()))
    return StepResult(
        rows_processed=published.row_count, destination_table=str(table), details=details
    )


def _connect(org: OrgContext, report: ReportSpec) -> OriginClient:
    if report.connect is not None:
        return report.connect(org)
    return connect_provider(org, report.provider, headers=report.headers)


class DailyExtraction(DaySource):
    """Days of one org in one run, fetched in ranges of days through the provider's API."""

    def __init__(self, org: OrgContext, report: ReportSpec, client: OriginClient) -> None:
        self.table = report.table
        self.schema = report.schema
        self.shrink_limits = report.shrink_limits
        self._org = org
        self._report = report
        self._client = client
        self._attempts: Mapping[date, Attempt] = {}
        self._round_number = 0
        self._read_at = org.now()
        self._ranges: dict[date, DayRange] = {}
        self._files: dict[date, DayFile] = {}

    def prepare(self, attempts: Mapping[date, Attempt], *, round_number: int) -> None:
        """Split the days into ranges; no range is fetched yet."""
        self._attempts = attempts
        self._round_number = round_number
        self._read_at = self._org.now()
        ranges = split_into_ranges(attempts, longest=self._report.longest)
        self._ranges = {day: days for days in ranges for day in days.days}
        self._files = {}

    def content(self, day: date) -> DayContent:
        """Return the rows of a day; the first day of a range fetches the whole range."""
        if day not in self._files:
            self._files = self._fetch_range(self._ranges[day])
        return DayContent(self._files[day], self._read_at, end_proved=self._report.end_proved)

    def _fetch_range(self, days: DayRange) -> dict[date, DayFile]:
        report = self._report
        folder = self._org.spool_dir / f"{days.first}_{days.last}_{self._round_number}"
        attempts = [self._attempts[day] for day in days.days]
        _discard_outdated_pages(folder, attempts, run_id=self._org.run_id, now=self._read_at)
        spool = Spool.open(folder, fingerprint=self._build_fingerprint(days))
        if spool.records:
            self._org.log.info("%s: resuming after page %d", folder.name, len(spool.records))
        self._fetch_pages(spool, days)
        return spool.write_day_files(
            day_from_field(report.day_column),
            days.days,
            money_of=report.money_of,
            unique_by=report.unique_by,
            figures=report.build_figure_spec(),
        )

    def _fetch_pages(self, spool: Spool, days: DayRange) -> None:
        """Read all pages of the days into the spool, durably."""
        spec = self._report
        done = extract_pages(
            self._client,
            spec.queries(days),
            spool,
            retrier=Retrier(spec.retry or retry_policy(self._org, spec.provider)),
            allowance=self._build_allowance(),
            batch_rows=spec.batch_rows,
            quarantine=open_quarantine(self._org),
            raw=open_raw_pages(self._org, f"{days.first}_{days.last}", days=spec.raw_days),
        )
        self._org.log.info(
            "%s to %s: %d rows in %d pages, %d requests, %d retries",
            *(days.first, days.last, done.rows, done.pages, done.requests, done.retries),
        )

    def _build_allowance(self) -> Allowance:
        report = self._report
        return build_allowance(
            self._org,
            report.provider,
            rate=report.rate or RequestRate(report.requests_per_minute, seconds=60),
            host=self._client.origin.host,
        )

    def _build_fingerprint(self, days: DayRange) -> str:
        origin, report = self._client.origin, self._report
        return fingerprint_of(
            report.revision,
            [origin.scheme, origin.host, origin.port, origin.prefix],
            dict(report.headers),
            dict(report.config),
            get_column_types(report.schema),
            days,
        )


def connect_provider(
    org: OrgContext, provider_id: str, *, headers: Mapping[str, str] | None = None
) -> OriginClient:
    """Return a client bound to a provider, with the org's key; it sends the key nowhere else."""
    provider = load_registry(org.settings).get(provider_id)
    key = org.credential(provider.id)
    sent = authorize(provider.auth, key)
    return OriginClient.for_settings(
        provider.url(org.settings),
        settings=org.settings,
        headers={**provider.headers, **(headers or {}), **sent.headers},
        params=sent.params,
        secrets=sent.secrets,
    )


def retry_policy(org: OrgContext, provider_id: str, *, throttled: bool = True) -> RetryPolicy:
    """Return the retry policy of a provider: its `retry` in `system/providers.yml`, or the default.

    Args:
        org: its settings name the folder of the file.
        provider_id: such as `openai`; an id that the file lacks has the default policy.
        throttled: whether a request is repeated after a 429.
    """
    try:
        retry = load_registry(org.settings).get(provider_id).retry
    except NotFoundError:
        retry = None
    return build_retry_policy(retry or RetryConfig(), throttled=throttled)


def build_retry_policy(retry: RetryConfig, *, throttled: bool = True) -> RetryPolicy:
    """Return the policy of configured retries; an unreadable page is requested at most thrice."""
    return RetryPolicy(
        attempts=retry.attempts,
        base_seconds=retry.base_seconds,
        cap_seconds=retry.max_seconds,
        malformed_attempts=min(3, retry.attempts),
        throttled=throttled,
    )


def build_allowance(
    org: OrgContext, provider_id: str, *, rate: RequestRate, host: str
) -> Allowance:
    """Return the request allowance of an org at a provider, shared by all its tasks."""
    redis = org.settings.redis_url
    return Allowance(
        rate,
        org_slug=org.org_slug,
        provider=provider_id,
        host=host,
        storage_url=redis.get_secret_value() if redis else "memory://",
    )


def _discard_outdated_pages(
    folder: Path, attempts: Sequence[Attempt], *, run_id: str, now: datetime
) -> None:
    """Discard pages of an earlier try if another run has published newer content since."""
    began = folder.with_suffix(".began")
    with suppress(FileNotFoundError):
        since = datetime.fromisoformat(began.read_text(encoding="ascii"))
        others = [a.previous for a in attempts if a.previous and a.previous.run_id != run_id]
        if not any(max(row.checked_at, row.job_ended_at) >= since for row in others):
            return
        shutil.rmtree(folder, ignore_errors=True)
    began.parent.mkdir(parents=True, exist_ok=True)
    began.write_text(now.isoformat(), encoding="ascii")
