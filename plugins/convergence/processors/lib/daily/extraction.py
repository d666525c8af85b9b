"""Daily figures of a provider to the org's table: days asked for in ranges, published one by one.

What differs between providers is a `DailySource`; how days are fetched, resumed, sealed and
published is here, once.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

from convergence.errors import NotFoundError
from convergence.extract.http import OriginClient
from convergence.extract.ratelimit import Allowance, RequestRate
from convergence.extract.retry import Retrier, RetryPolicy
from convergence.extract.spool import Spool, day_from_field, fingerprint_of
from convergence.extract.stream import Query, extract_pages
from convergence.processors.context import OrgContext, StepResult
from convergence.processors.lib.daily.cost_view import show_in_cost_daily
from convergence.processors.lib.daily.day_ranges import DayRange, contiguous
from convergence.processors.lib.daily.fields import DAY_COLUMN
from convergence.processors.lib.daily.kept_responses import quarantine, raw_pages
from convergence.processors.lib.daily.observed import observed_days
from convergence.processors.lib.daily.slices import Publish, done_before, publish_days
from convergence.providers.authorization import authorize
from convergence.providers.registry import RetryConfig, load_registry
from convergence.runs.ledger import LedgerRow
from convergence.runs.publisher import Attempt
from convergence.warehouse.day_file import DayFile, Money
from convergence.warehouse.evolve import ensure_table
from convergence.warehouse.names import TableName
from convergence.warehouse.schemas import TableSchema


@dataclass(frozen=True, kw_only=True)
class DailySource:
    """How one provider tells one kind of daily figure.

    Attributes:
        provider: its id.
        table: of the org's dataset.
        schema: that table's; `usage_date` is its day.
        queries: what to ask for a range of days.
        unique_by: fields that together name a row of a day.
        revision: rises when the same answers make other rows: old pages are then not used.
        config: of the step; with the schema and the origin it decides what pages are good for.
        requests_per_minute: most requests to the provider for one org.
        headers: sent beside those of the registry.
        money_of: what a row adds to its day's totals.
        longest: most days in one range.
        source_view: the table's part of cost_daily.
        connect: makes the client; the provider's of the registry when absent.
        rate: how often the provider may be asked, in place of `requests_per_minute`.
        retry: the retry policy of a page; by default the one of the provider.
        day_column: that holds a row's day.
        batch_rows: as `stream.extract_pages` takes it.
        observed_on: where the provider tells only the present, the one day that it can be asked
            about; other days stay as they were published, and are NOT_OBSERVABLE in the ledger.
        unknown: how often each field without a column was seen; read when all rows have come.
        raw_days: for how many days answers are kept as they came; 0 for not at all.
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


def columns_of(schema: TableSchema) -> dict[str, str]:
    """Column → BigQuery type."""
    return {one.name: one.type for one in schema.fields}


def billed(row: Mapping[str, Any]) -> Money:
    """What a row of a provider's bill adds to its day: amounts are text once on disk."""
    return Money(row["currency"], "billed", Decimal(row["billed_cost"]))


def extract_days(org: OrgContext, source: DailySource) -> StepResult:
    """Extract and publish the org's days.

    Raises:
        ProviderUnavailableError: the provider does not answer; pages so far are kept.
        ProviderRejectedError: it refuses the credential or the request.
        ProviderProtocolError: an answer breaks the documented shape.
    """
    table = TableName(org.dataset, source.table)
    if not org.days:
        return StepResult(status="SKIPPED", destination_table=str(table))
    ensure_table(org.warehouse, table, source.schema)
    show_in_cost_daily(org, source.source_view)
    before = done_before(org, table=source.table)
    observed = None
    if source.observed_on is not None:
        observed = observed_days(org, table=source.table, observable=source.observed_on)
    days = org.days if observed is None else observed.todo
    todo = sorted(set(days) - before, reverse=True)
    with _connected(org, source) as client:
        extraction = Extraction(org, source, client)
        published = publish_days(org, todo, table=source.table, make=extraction.make)
    facts: dict[str, Any] = {**published.facts(), "days_done_before": len(before)}
    if observed is not None:
        facts |= observed.details()
    if source.unknown:
        facts["unknown_fields"] = dict(sorted(source.unknown.items()))
    return StepResult(
        rows_processed=published.row_count, destination_table=str(table), details=facts
    )


def _connected(org: OrgContext, source: DailySource) -> OriginClient:
    if source.connect is not None:
        return source.connect(org)
    return provider_client(org, source.provider, headers=source.headers)


class Extraction:
    """One org's figures in one run."""

    def __init__(self, org: OrgContext, source: DailySource, client: OriginClient) -> None:
        self._org = org
        self._source = source
        self._client = client

    def make(self, attempts: Mapping[date, Attempt], round_: int) -> Iterator[tuple[date, Publish]]:
        """The content of the days whose attempts are given, newest first."""
        now = self._org.now()
        for part in contiguous(attempts, longest=self._source.longest):
            sealed = self._sealed(part, [attempts[day] for day in part.days], round_, now=now)
            for day in reversed(part.days):
                yield day, partial(self._publish, attempts[day], sealed[day], now=now)

    def _publish(self, attempt: Attempt, sealed: DayFile, *, now: datetime) -> LedgerRow:
        return publish_sealed(
            self._org,
            attempt,
            sealed,
            table=self._source.table,
            schema=self._source.schema,
            now=now,
        )

    def _sealed(
        self, days: DayRange, attempts: Sequence[Attempt], round_: int, *, now: datetime
    ) -> dict[date, DayFile]:
        source = self._source
        folder = self._org.spool_dir / f"{days.first}_{days.last}_{round_}"
        _drop_outdated(folder, attempts, run_id=self._org.run_id, now=now)
        spool = Spool.open(folder, fingerprint=self._fingerprint(days))
        if spool.records:
            self._org.log.info("%s: going on after page %d", folder.name, len(spool.records))
        self._fill(spool, days)
        return spool.write_day_files(
            day_from_field(source.day_column),
            days.days,
            money_of=source.money_of,
            unique_by=source.unique_by,
        )

    def _fill(self, spool: Spool, days: DayRange) -> None:
        """All that the provider says of the days, durable."""
        source = self._source
        queries = source.queries(days)
        report = extract_pages(
            self._client,
            queries,
            spool,
            retrier=Retrier(source.retry or retry_policy(self._org, source.provider)),
            allowance=self._allowance(),
            batch_rows=source.batch_rows,
            quarantine=quarantine(self._org),
            raw=raw_pages(self._org, f"{days.first}_{days.last}", days=source.raw_days),
        )
        self._org.log.info(
            "%s to %s: %d rows in %d pages, %d requests, %d retries",
            *(days.first, days.last, report.rows, report.pages, report.requests, report.retries),
        )

    def _allowance(self) -> Allowance:
        source = self._source
        return allowance(
            self._org,
            source.provider,
            rate=source.rate or RequestRate(source.requests_per_minute, seconds=60),
            host=self._client.origin.host,
        )

    def _fingerprint(self, days: DayRange) -> str:
        origin, source = self._client.origin, self._source
        return fingerprint_of(
            source.revision,
            [origin.scheme, origin.host, origin.port, origin.prefix],
            dict(source.headers),
            dict(source.config),
            columns_of(source.schema),
            days,
        )


def publish_sealed(
    org: OrgContext,
    attempt: Attempt,
    sealed: DayFile,
    *,
    table: str,
    schema: TableSchema,
    now: datetime,
) -> LedgerRow:
    """Publish a sealed day of one of the org's tables; errors as `Publisher.publish_rows`."""
    return org.publisher.publish_rows(
        attempt,
        sealed,
        table=TableName(org.dataset, table),
        schema=schema,
        run_id=org.run_id,
        now=now,
        settle_days=org.pipeline.settle_days,
    )


def provider_client(
    org: OrgContext, provider_id: str, *, headers: Mapping[str, str] | None = None
) -> OriginClient:
    """A client bound to a provider, with the org's key; the key goes nowhere else."""
    provider = load_registry(org.settings).get(provider_id)
    key = org.credential(provider.id)
    sent = authorize(provider.auth, key)
    return OriginClient.for_settings(
        provider.url(org.settings),
        settings=org.settings,
        headers={**provider.headers, **(headers or {}), **sent.headers},
        params=sent.params,
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


def allowance(org: OrgContext, provider_id: str, *, rate: RequestRate, host: str) -> Allowance:
    """How often this org may ask this provider, whoever asks."""
    redis = org.settings.redis_url
    return Allowance(
        rate,
        org_slug=org.org_slug,
        provider=provider_id,
        host=host,
        storage_url=redis.get_secret_value() if redis else "memory://",
    )


def _drop_outdated(
    folder: Path, attempts: Sequence[Attempt], *, run_id: str, now: datetime
) -> None:
    """Pages of an earlier try are older than what another run has published since: not used."""
    began = folder.with_suffix(".began")
    with suppress(FileNotFoundError):
        since = datetime.fromisoformat(began.read_text(encoding="ascii"))
        others = [a.previous for a in attempts if a.previous and a.previous.run_id != run_id]
        if not any(max(row.checked_at, row.job_ended_at) >= since for row in others):
            return
        shutil.rmtree(folder, ignore_errors=True)
    began.parent.mkdir(parents=True, exist_ok=True)
    began.write_text(now.isoformat(), encoding="ascii")
