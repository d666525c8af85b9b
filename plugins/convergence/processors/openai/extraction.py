"""Usage from OpenAI to the org's table: days asked for in ranges, published one by one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import date, datetime
from functools import partial
from pathlib import Path

from convergence.extract.buckets import BucketPages
from convergence.extract.http import OriginClient
from convergence.extract.ratelimit import Allowance, Rate
from convergence.extract.spool import Spool, fingerprint_of
from convergence.extract.stream import Query, extract
from convergence.processors.context import OrgContext, StepResult
from convergence.processors.generic.day_ranges import DayRange, contiguous
from convergence.processors.generic.slices import Publish, done_before, publish_days
from convergence.processors.openai.config import UsageConfig, UsageEndpoint
from convergence.processors.openai.shape import UsageShape, usage_day
from convergence.providers.registry import registry
from convergence.runs.ledger import LedgerRow
from convergence.runs.publisher import Attempt
from convergence.warehouse.evolve import ensure_table
from convergence.warehouse.names import TableName
from convergence.warehouse.schemas import TableSchema
from convergence.warehouse.sealed import SealedDay

PROVIDER = "openai"
MOST_DAYS_AT_ONCE = 31
PATH = "/organization/usage/"
SHAPE_REVISION = 1
"""Rises when `UsageShape` makes other rows of the same answers: old pages are then not used."""


def extract_usage(org: OrgContext, config: UsageConfig) -> StepResult:
    """Extract and publish the org's days."""
    table = TableName(org.dataset, config.table)
    if not org.days:
        return StepResult(status="SKIPPED", destination_table=str(table))
    schema = TableSchema.load(org.settings.configs_dir / config.schema_file)
    ensure_table(org.warehouse, table, schema)
    before = done_before(org, table=config.table)
    todo = sorted(set(org.days) - before, reverse=True)
    with _client(org) as client:
        extraction = Extraction(org, config, client, table=table, schema=schema)
        published = publish_days(org, todo, table=config.table, make=extraction.make)
    return StepResult(
        rows_processed=published.row_count,
        destination_table=str(table),
        facts={**published.facts(), "days_done_before": len(before)},
    )


class Extraction:
    """One org's usage in one run."""

    def __init__(
        self,
        org: OrgContext,
        config: UsageConfig,
        client: OriginClient,
        *,
        table: TableName,
        schema: TableSchema,
    ) -> None:
        self._org = org
        self._config = config
        self._client = client
        self._table = table
        self._schema = schema
        self._columns = {field.name: field.type for field in schema.fields}

    def make(self, attempts: Mapping[date, Attempt], round_: int) -> Iterator[tuple[date, Publish]]:
        """The content of the days whose attempts are given, newest first."""
        now = self._org.now()
        for part in contiguous(attempts, longest=MOST_DAYS_AT_ONCE):
            sealed = self._sealed(part, [attempts[day] for day in part.days], round_, now=now)
            for day in reversed(part.days):
                yield day, partial(self._publish, attempts[day], sealed[day], now=now)

    def _publish(self, attempt: Attempt, sealed: SealedDay, *, now: datetime) -> LedgerRow:
        return self._org.publisher.publish_rows(
            attempt,
            sealed,
            table=self._table,
            schema=self._schema,
            run_id=self._org.run_id,
            now=now,
            settle_days=self._org.pipeline.settle_days,
        )

    def _sealed(
        self, days: DayRange, attempts: Sequence[Attempt], round_: int, *, now: datetime
    ) -> dict[date, SealedDay]:
        folder = self._org.spool_dir / f"{days.first}_{days.last}_{round_}"
        _drop_outdated(folder, attempts, run_id=self._org.run_id, now=now)
        spool = Spool.open(folder, fingerprint=self._fingerprint(days))
        if spool.records:
            self._org.log.info("%s: going on after page %d", folder.name, len(spool.records))
        report = extract(
            self._client,
            [self._query(endpoint, days) for endpoint in self._config.endpoints],
            spool,
            allowance=self._allowance(),
        )
        self._org.log.info(
            "%s to %s: %d rows in %d pages, %d requests, %d retries",
            *(days.first, days.last, report.rows, report.pages, report.requests, report.retries),
        )
        return spool.seal(usage_day, days.days, unique_by=self._identity())

    def _query(self, endpoint: UsageEndpoint, days: DayRange) -> Query:
        start, end = int(days.start.timestamp()), int(days.end.timestamp())
        pages = BucketPages(
            path=PATH + endpoint.endpoint,
            start=start,
            end=end,
            params=(
                ("start_time", str(start)),
                ("end_time", str(end)),
                ("bucket_width", "1d"),
                ("limit", str(self._config.buckets_per_page)),
                *(("group_by[]", key) for key in endpoint.group_by),
            ),
        )
        shape = UsageShape(endpoint.endpoint, columns=self._columns)
        return Query(endpoint.endpoint, pages, lambda result: (shape.row(result),))

    def _identity(self) -> tuple[str, ...]:
        """Within a day and endpoint each combination of groups comes once."""
        groups = {key for endpoint in self._config.endpoints for key in endpoint.group_by}
        return ("usage_date", "endpoint", *sorted(groups))

    def _fingerprint(self, days: DayRange) -> str:
        origin = self._client.origin
        return fingerprint_of(
            SHAPE_REVISION,
            [origin.scheme, origin.host, origin.port, origin.prefix],
            self._config.model_dump(mode="json"),
            self._columns,
            days,
        )

    def _allowance(self) -> Allowance:
        redis = self._org.settings.redis_url
        return Allowance(
            Rate(self._config.requests_per_minute, seconds=60),
            org_slug=self._org.org_slug,
            provider=PROVIDER,
            host=self._client.origin.host,
            storage_url=redis.get_secret_value() if redis else "memory://",
        )


def _client(org: OrgContext) -> OriginClient:
    """A client bound to OpenAI, with the org's key; the key goes nowhere else."""
    provider = registry(org.settings).get(PROVIDER)
    key = org.credential(provider.id)
    headers = {**provider.headers, provider.auth.header: provider.auth.prefix + key}
    return OriginClient.for_settings(
        provider.url(org.settings), settings=org.settings, headers=headers
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
