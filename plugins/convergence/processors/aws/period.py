"""Load one billing period: read its newest delivery and publish its days."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from convergence.errors import ProviderProtocolError, ProviderUnavailableError, SupersededError
from convergence.extract.spool import Spool, fingerprint_of
from convergence.extract.storage.figures import FigureSpec, build_query_version, measure_columns
from convergence.processors.aws.bucket import Bucket
from convergence.processors.aws.config import S3DataLoaderConfig
from convergence.processors.aws.export import Export, File, Period
from convergence.processors.aws.normalise import KEYS, Month, Sums
from convergence.processors.context import OrgContext
from convergence.processors.lib.daily.day_source import DayContent, DaySource
from convergence.processors.lib.daily.extraction import build_billed_money
from convergence.processors.lib.daily.fields import day_of
from convergence.processors.lib.daily.slices import publish_days, take_attempts
from convergence.runs.ledger import Action, LedgerRow
from convergence.runs.publisher import Attempt
from convergence.runs.shrink_guard import ACCEPT_SHRINK, ShrinkAcceptance
from convergence.warehouse.day_file import DayFile
from convergence.warehouse.names import TableName
from convergence.warehouse.schemas import TableSchema

MB: Final = 1024 * 1024
ROWS_PER_PAGE: Final = 5_000
DELIVERY_TIMEOUT: Final = timedelta(hours=2)
"""How long to wait for the manifest of a delivery, or for the files of one without a manifest to
stay as they are."""
MIN_ROWS_FOR_SHRINK_CHECK: Final = 20
"""A period with at most so many rows may shrink by any share."""
_GROSS_LINE_TYPES: Final = frozenset(
    {
        *("Usage", "DiscountedUsage", "SavingsPlanCoveredUsage", "Fee", "RIFee"),
        *("SavingsPlanRecurringFee", "SavingsPlanUpfrontFee"),
    }
)
_GROSS_CATEGORIES: Final = frozenset({"Usage", "Purchase"})


def is_gross(row: Mapping[str, Any]) -> bool:
    """Return whether a row is no credit, refund, tax, discount or correction.

    CUR 2.0 rows have a line type, FOCUS rows have only a charge category and class.
    """
    if row["line_type"] is not None:
        return row["line_type"] in _GROSS_LINE_TYPES
    return row["charge_category"] in _GROSS_CATEGORIES and row["charge_class"] != "Correction"


MEASURE: Final = measure_columns(
    amount="billed_cost", quantity="usage_quantity", unit="unit", counts=is_gross
)
"""How the shrink guard measures a row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """Result of loading a period."""

    first: date
    rows: int
    lines: int
    published: int
    unchanged: int
    invoiced: bool
    unknown: Counter[str] = field(default_factory=Counter)
    unknown_types: tuple[str, ...] = ()
    counted: Counter[str] = field(default_factory=Counter)


class _IncompleteDeliveryError(Exception):
    """Raised when the delivery is not complete yet."""


class PeriodLoader(DaySource):
    """Loader of one period of one org."""

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
        self.table = config.table
        self.schema = TableSchema.load(org.settings.configs_dir / config.schema_file)
        self.shrink_limits = config.shrink_guard.build_limits()
        self._files: Mapping[date, DayFile] = {}
        self._unchanged: Mapping[date, LedgerRow] = {}
        self._settle_days = org.pipeline.settle_days
        self._published: Mapping[date, LedgerRow] = {}
        self._period = Period(first, ())
        self._month = Month(first, min(self._period.last, self._today))
        self._sums = Sums(export.kind, self._month)
        self._has_manifest = True

    def load_period(self, published: Mapping[date, LedgerRow]) -> Loaded | None:
        """Read the current period and publish its days; return None while it is being delivered.

        Args:
            published: the ledger row of each day that was published before.

        Raises:
            ProviderProtocolError: a file can't be read, or the period lost most of its rows.
            ProviderUnavailableError, ProviderRejectedError: as AWS says.
        """
        self._published = published
        files_attempt = take_attempts(self._org, [self._first], table=self._config.files_table)
        try:
            done = publish_days(self._org, self, _list_days(self._month))
        except _IncompleteDeliveryError:
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

    def prepare(self, attempts: Mapping[date, Attempt], *, round_number: int) -> None:
        """Read the period's newest delivery.

        The files are listed after the attempts are taken: a higher attempt has the newer files.
        """
        self._period = self._list_files()
        folder = self._org.spool_dir / f"{self._month.name}_sums"
        try:
            self._sums = self._sum_files(self._select_delivered(self._period), folder)
            self._check_listing()
            self._files = self._write_day_files(self._sums, round_number)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        self._check_shrinking(self._files)
        # An invoice makes a period final, whatever its dates are.
        self._settle_days = 0 if self._sums.invoiced else self._org.pipeline.settle_days
        self._unchanged = self._confirm_unchanged(attempts)

    def content(self, day: date) -> DayContent | LedgerRow | None:
        """Return the rows of a day; None for a present or future day that never had rows."""
        if day in self._unchanged:
            return self._unchanged[day]
        file = self._files[day]
        if day < self._today or file.row_count or day in self._published:
            return DayContent(
                file, self._now, settle_days=self._settle_days, invoiced=self._sums.invoiced
            )
        return None

    def _list_files(self) -> Period:
        period = self._bucket.look(self._first).periods.get(self._first)
        if period is None:
            raise ProviderUnavailableError(
                "The period's files are gone while it is being delivered",
                at=self._export.url(self._export.period_prefix(self._first)),
            )
        return period

    def _select_delivered(self, period: Period) -> tuple[File, ...]:
        """Return the newest delivery's files; AWS writes the manifest after all files."""
        manifest = self._bucket.manifest(self._first)
        newest = max(file.modified_at for file in period.files)
        self._has_manifest = manifest is not None
        if manifest is None:
            accepted = self._config.load_without_manifest
            if not accepted and self._now - newest < DELIVERY_TIMEOUT:
                raise _IncompleteDeliveryError
            return period.delivered(None)
        if manifest.modified_at < newest and self._now - newest < DELIVERY_TIMEOUT:
            raise _IncompleteDeliveryError
        try:
            return period.delivered(manifest.keys)
        except KeyError:
            raise ProviderUnavailableError(
                "The manifest names a file that is not there",
                at=self._export.url(self._export.manifest_key(self._first)),
            ) from None

    def _check_listing(self) -> None:
        """Check that no file came or changed while a period without a manifest was read."""
        if not self._has_manifest and self._list_files().files != self._period.files:
            raise _IncompleteDeliveryError

    def _sum_files(self, files: tuple[File, ...], sums_folder: Path) -> Sums:
        shutil.rmtree(sums_folder, ignore_errors=True)
        sums = Sums(self._export.kind, self._month, folder=sums_folder)
        folder = self._org.spool_dir / f"{self._month.name}_files"
        try:
            for number, file in enumerate(files):
                self._add_file(sums, file, folder / f"{number:05d}")
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return sums

    def _add_file(self, sums: Sums, file: File, path: Path) -> None:
        at = self._export.url(file.key)
        if file.size > self._config.max_file_mb * MB:
            raise ProviderProtocolError(
                "The file is larger than is allowed", file=at, size=file.size
            )
        self._bucket.download(file, path)
        before, blank = sums.lines, sums.counted["without_amount"]
        if file.is_parquet:
            sums.add_parquet(path, file=at)
        else:
            sums.add_csv(path, file=at, max_bytes=self._config.max_unpacked_mb * MB)
        path.unlink()
        if sums.lines > before and sums.counted["without_amount"] - blank == sums.lines - before:
            raise ProviderProtocolError(
                "No line of the file has an amount", file=at, lines=sums.lines - before
            )
        self._org.log.info("%s: %d lines", at, sums.lines - before)

    def _write_day_files(self, sums: Sums, round_number: int) -> dict[date, DayFile]:
        spool = self._open_spool(f"{self._month.name}_{round_number}")
        rows = sums.rows()
        page = list(islice(rows, ROWS_PER_PAGE))
        while page:
            more = list(islice(rows, ROWS_PER_PAGE))
            spool.write_page(page, next_token=str(len(spool.records) + 1) if more else None)
            page = more
        if not spool.complete:
            spool.write_page((), next_token=None)
        return spool.write_day_files(
            day_of,
            _list_days(self._month),
            money_of=build_billed_money,
            unique_by=KEYS,
            figures=FigureSpec(
                query_version=build_query_version(
                    self._revision, self.schema, grouping=[self._export.kind, KEYS]
                ),
                measure=MEASURE,
            ),
        )

    def _open_spool(self, name: str) -> Spool:
        """Open an empty spool: the files may have changed since an earlier try read them."""
        return Spool.open(self._org.spool_dir / name, fingerprint=fingerprint_of(uuid4().hex))

    def _check_shrinking(self, files: Mapping[date, DayFile]) -> None:
        """Compare the days that were published without figures, by the rows of the period."""
        days = [
            day
            for day, row in self._published.items()
            if day in files and row.figures is None and not self._is_shrink_accepted(day)
        ]
        before = sum(self._published[day].row_count for day in days)
        rows = sum(files[day].row_count for day in days)
        if before > MIN_ROWS_FOR_SHRINK_CHECK and rows * 2 < before:
            raise ProviderProtocolError(
                "The period lost more than half of its rows; set accept_shrink if this is right",
                at=self._export.url(self._export.period_prefix(self._first)),
                rows=rows,
                published=before,
            )

    def _is_shrink_accepted(self, day: date) -> bool:
        accepted = ShrinkAcceptance.from_param(self._org.params.get(ACCEPT_SHRINK))
        return accepted is not None and accepted.covers(self._org.org_slug, day)

    def _confirm_unchanged(self, attempts: Mapping[date, Attempt]) -> dict[date, LedgerRow]:
        """Confirm the days whose content equals the ledger's; one query for all of them."""
        same = [
            attempt
            for day, attempt in attempts.items()
            if attempt.previous
            and attempt.previous.content_hash == self._files[day].content_hash
            and attempt.previous.figures is not None
            and attempt.pending is None
        ]
        rows = self._org.publisher.confirm_unchanged(
            same,
            table=TableName(self._org.dataset, self.table),
            run_id=self._org.run_id,
            now=self._now,
            settle_days=self._settle_days,
        )
        return {key.day: row for key, row in rows.items()}

    def _record_files(self, attempt: Attempt) -> None:
        """Record the files of the published days; from then on they are not read again."""
        spool = self._open_spool(f"{self._month.name}_listing")
        rows = self._period.rows(self._export.kind, revision=self._revision)
        spool.write_page(rows, next_token=None)
        file = spool.write_day_files(_get_period, [self._first])[self._first]
        schema_file = self._org.settings.configs_dir / self._config.files_schema_file
        try:
            self._org.publisher.publish_rows(
                attempt,
                file,
                table=TableName(self._org.dataset, self._config.files_table),
                schema=TableSchema.load(schema_file),
                run_id=self._org.run_id,
                now=self._now,
                settle_days=self._org.pipeline.settle_days,
            )
        except SupersededError:
            # The newer attempt records the files, or the next run loads the period again.
            self._org.log.info("%s: another run has loaded it too", self._month.name)


def _get_period(row: Mapping[str, Any]) -> date:
    return date.fromisoformat(row["billing_period"])


def _list_days(month: Month) -> list[date]:
    count = (month.last - month.first).days + 1
    return [month.first + timedelta(days=n) for n in range(count)]
