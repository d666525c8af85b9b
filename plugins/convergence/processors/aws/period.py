"""One billing period: its newest delivery to sealed days, and those into their partitions."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, timedelta
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from convergence.errors import ProviderProtocolError, ProviderUnavailableError, SupersededError
from convergence.extract.spool import Spool, fingerprint_of
from convergence.processors.aws.bucket import Bucket
from convergence.processors.aws.config import S3DataLoaderConfig
from convergence.processors.aws.export import Export, File, Period
from convergence.processors.aws.normalise import KEYS, Month, Sums
from convergence.processors.context import OrgContext
from convergence.processors.lib.daily.extraction import billed
from convergence.processors.lib.daily.fields import day_of
from convergence.processors.lib.daily.slices import Publish, attempts, publish_days
from convergence.runs.ledger import Action, LedgerRow
from convergence.runs.publisher import Attempt
from convergence.warehouse.day_file import DayFile
from convergence.warehouse.names import TableName
from convergence.warehouse.schemas import TableSchema

MB: Final = 1024 * 1024
ROWS_PER_PAGE: Final = 5_000
DELIVERY: Final = timedelta(hours=2)
"""How long a delivery whose manifest has not come is waited for."""
FEW_ROWS: Final = 20
"""So few rows may become fewer by any share."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What was loaded of a period."""

    first: date
    rows: int
    lines: int
    published: int
    unchanged: int
    invoiced: bool
    unknown: Counter[str] = field(default_factory=Counter)
    unknown_types: tuple[str, ...] = ()
    counted: Counter[str] = field(default_factory=Counter)


class _PutOffError(Exception):
    """The delivery is not complete."""


class PeriodLoader:
    """Loads one period of one org."""

    def __init__(
        self,
        org: OrgContext,
        config: S3DataLoaderConfig,
        export: Export,
        bucket: Bucket,
        *,
        first: date,
        revision: int,
    ) -> None:
        self._org = org
        self._config = config
        self._export = export
        self._bucket = bucket
        self._first = first
        self._revision = revision
        self._now = org.now()
        self._today = self._now.astimezone(UTC).date()
        self._schemas = {
            name: TableSchema.load(org.settings.configs_dir / file)
            for name, file in (
                (config.table, config.schema_file),
                (config.files_table, config.files_schema_file),
            )
        }
        self._published: Mapping[date, LedgerRow] = {}
        self._period = Period(first, ())
        self._month = Month(first, min(self._period.last, self._today))
        self._sums = Sums(export.kind, self._month)

    def load(self, published: Mapping[date, LedgerRow]) -> Loaded | None:
        """Read the period as it is now and publish its days; None while it is being delivered.

        Args:
            published: the ledger's row of every day that was published before.

        Raises:
            ProviderProtocolError: a file can't be read, or the period shrank beyond belief.
            ProviderUnavailableError, ProviderRejectedError: as AWS says.
        """
        self._published = published
        files_attempt = attempts(self._org, [self._first], table=self._config.files_table)
        days = _days(self._month)

        def make(
            given: Mapping[date, Attempt], round_: int
        ) -> Iterator[tuple[date, Publish | None]]:
            # Listed after the attempts were taken: a higher attempt has the newer files.
            self._period = self._listed()
            return self._made(self._period, given, round_)

        try:
            done = publish_days(self._org, days, table=self._config.table, make=make)
        except _PutOffError:
            return None
        sums = self._sums
        if not done.superseded:
            self._record_files(files_attempt[self._first])
        unchanged = sum(row.action is Action.UNCHANGED for row in done.rows.values())
        return Loaded(
            first=self._first,
            rows=done.row_count,
            lines=sums.lines,
            published=len(done.rows) - unchanged,
            unchanged=unchanged,
            invoiced=sums.invoiced,
            unknown=sums.unknown,
            unknown_types=tuple(sums.unknown_line_types),
            counted=Counter(sums.counts()),
        )

    def _listed(self) -> Period:
        period = self._bucket.look(self._first).periods.get(self._first)
        if period is None:
            raise ProviderUnavailableError(
                "The period's files are gone while it is being delivered",
                at=self._export.url(self._export.period_prefix(self._first)),
            )
        return period

    def _delivered(self, period: Period) -> tuple[File, ...]:
        """The newest delivery's files; AWS writes the manifest when all of them are there."""
        manifest = self._bucket.manifest(self._first)
        newest = max(file.modified_at for file in period.files)
        if manifest is None:
            return period.delivered(None)
        if manifest.modified_at < newest and self._now - newest < DELIVERY:
            raise _PutOffError
        try:
            return period.delivered(manifest.keys)
        except KeyError:
            raise ProviderUnavailableError(
                "The manifest names a file that is not there",
                at=self._export.url(self._export.manifest_key(self._first)),
            ) from None

    def _made(
        self, period: Period, given: Mapping[date, Attempt], round_: int
    ) -> Iterator[tuple[date, Publish | None]]:
        sums = self._added_up(self._delivered(period))
        self._sums = sums
        sealed = self._sealed(sums, round_)
        self._check_shrinking(sealed)
        # An invoice ends a period, whatever the calendar says.
        settle_days = 0 if sums.invoiced else self._org.pipeline.settle_days
        same = self._confirmed(given, sealed, settle_days)
        for day in sorted(given, reverse=True):
            if day in same:
                yield day, partial(same.__getitem__, day)
            elif day < self._today or sealed[day].row_count or day in self._published:
                yield day, partial(self._publish, given[day], sealed[day], settle_days=settle_days)
            else:
                yield day, None

    def _added_up(self, files: tuple[File, ...]) -> Sums:
        sums = Sums(self._export.kind, self._month)
        folder = self._org.spool_dir / f"{self._month.name}_files"
        try:
            for number, file in enumerate(files):
                self._add(sums, file, folder / f"{number:05d}")
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return sums

    def _add(self, sums: Sums, file: File, path: Path) -> None:
        at = self._export.url(file.key)
        if file.size > self._config.max_file_mb * MB:
            raise ProviderProtocolError(
                "The file is larger than is allowed", file=at, size=file.size
            )
        self._bucket.download(file, path)
        before = sums.lines
        if file.is_parquet:
            sums.add_parquet(path, file=at)
        else:
            sums.add_csv(path, file=at, most_bytes=self._config.max_unpacked_mb * MB)
        path.unlink()
        self._org.log.info("%s: %d lines", at, sums.lines - before)

    def _sealed(self, sums: Sums, round_: int) -> dict[date, DayFile]:
        spool = self._spool(f"{self._month.name}_{round_}")
        rows = sums.rows()
        page = list(islice(rows, ROWS_PER_PAGE))
        while page:
            more = list(islice(rows, ROWS_PER_PAGE))
            spool.write_page(page, next_token=str(len(spool.records) + 1) if more else None)
            page = more
        if not spool.complete:
            spool.write_page((), next_token=None)
        return spool.write_day_files(day_of, _days(self._month), money_of=billed, unique_by=KEYS)

    def _spool(self, name: str) -> Spool:
        """An empty one: what an earlier try left was read from files that may be others now."""
        return Spool.open(self._org.spool_dir / name, fingerprint=fingerprint_of(uuid4().hex))

    def _check_shrinking(self, sealed: Mapping[date, DayFile]) -> None:
        if self._org.params.get("accept_shrink"):
            return
        before = sum(row.row_count for day, row in self._published.items() if day in sealed)
        rows = sum(day.row_count for day in sealed.values())
        if before > FEW_ROWS and rows * 2 < before:
            raise ProviderProtocolError(
                "The period has lost more than half of its rows; run with accept_shrink if it may",
                at=self._export.url(self._export.period_prefix(self._first)),
                rows=rows,
                published=before,
            )

    def _confirmed(
        self, given: Mapping[date, Attempt], sealed: Mapping[date, DayFile], settle_days: int
    ) -> dict[date, LedgerRow]:
        """Days whose content is what the ledger has: one look at all of them."""
        same = [
            attempt
            for day, attempt in given.items()
            if attempt.previous and attempt.previous.content_hash == sealed[day].content_hash
        ]
        rows = self._org.publisher.confirm_unchanged(
            same,
            table=TableName(self._org.dataset, self._config.table),
            run_id=self._org.run_id,
            now=self._now,
            settle_days=settle_days,
        )
        return {key.day: row for key, row in rows.items()}

    def _publish(
        self, attempt: Attempt, sealed: DayFile, *, settle_days: int, table: str = ""
    ) -> LedgerRow:
        name = table or self._config.table
        return self._org.publisher.publish_rows(
            attempt,
            sealed,
            table=TableName(self._org.dataset, name),
            schema=self._schemas[name],
            run_id=self._org.run_id,
            now=self._now,
            settle_days=settle_days,
        )

    def _record_files(self, attempt: Attempt) -> None:
        """Say which files the published days are of; from then on they are not read again."""
        spool = self._spool(f"{self._month.name}_listing")
        rows = self._period.rows(self._export.kind, revision=self._revision)
        spool.write_page(rows, next_token=None)
        sealed = spool.write_day_files(_period_of, [self._first])[self._first]
        settle_days = self._org.pipeline.settle_days
        try:
            self._publish(attempt, sealed, settle_days=settle_days, table=self._config.files_table)
        except SupersededError:
            # Whoever overtook this one says which files, or has the period loaded once more.
            self._org.log.info("%s: another run has loaded it too", self._month.name)


def _period_of(row: Mapping[str, Any]) -> date:
    return date.fromisoformat(row["billing_period"])


def _days(month: Month) -> list[date]:
    count = (month.last - month.first).days + 1
    return [month.first + timedelta(days=n) for n in range(count)]
