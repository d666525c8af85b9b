"""Copy the customer's billing export into our dataset, usage day by usage day.

Rows of an export have no id, and equal rows are separate charges, so rows cannot be merged. Nothing
is ever appended to a day: each usage day with newly exported rows is read whole and replaced,
however old it is. `day_copies` says whose rows it takes: what an export no longer has stays.

The ledger is the only mark of progress. The search for new rows starts at the oldest due day, minus
an overlap. Days that are not due are published first: while one of them fails, the due days stay
due, and the next run searches as far back again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from convergence.errors import RetryableError
from convergence.extract.spool import Spool, fingerprint_of
from convergence.extract.storage.figures import FigureSpec, build_query_version
from convergence.processors.context import OrgContext, StepResult
from convergence.processors.gcp.access import (
    customer_warehouse,
    service_account,
    storage_reader,
    translate_denials,
)
from convergence.processors.gcp.config import BqEtlConfig
from convergence.processors.gcp.copied_rows import CopiedRows, DayChoices
from convergence.processors.gcp.exports import ExportLocation, ExportTable, find_exports
from convergence.processors.gcp.shape import ExportShape, measure_row, net
from convergence.processors.lib.daily.day_source import DayContent, DaySource
from convergence.processors.lib.daily.fields import day_of
from convergence.processors.lib.daily.slices import (
    Published,
    find_days_done_before,
    publish_accepted_days,
    publish_days,
)
from convergence.processors.lib.schema_templates import load_template
from convergence.providers.google import ServiceAccount
from convergence.runs.ledger import LedgerRow
from convergence.runs.publisher import Attempt
from convergence.warehouse.bulk_read import BulkQuery, read_batches
from convergence.warehouse.client import Warehouse
from convergence.warehouse.day_file import DayFile
from convergence.warehouse.names import TableName
from convergence.warehouse.query import Row, run_file
from convergence.warehouse.tables.evolve import ensure_table

if TYPE_CHECKING:
    import pyarrow as pa
    from google.cloud.bigquery_storage import BigQueryReadClient

DAY_PARAMS = ("date", "start_date", "end_date")
"""Params that request days; a run with one of them copies only these days."""
SPOOLED_ROWS = 1_000
"""Rows of a page on disk; this limits memory, since Python objects are ten times as large."""
MAX_LOGGED_DAYS = 10
REVISION = 1
"""Raise it when the same export makes other rows."""


def copy_export(org: OrgContext, config: BqEtlConfig) -> StepResult:
    """Copy the due days and the days with new rows; errors as `BqEtl.run_step`."""
    table = TableName(org.dataset, config.table)
    if not org.days:
        return StepResult(status="SKIPPED", destination_table=str(table))
    account = service_account(org)
    location = ExportLocation.from_params(org.params, account_project=account.project_id)
    with ExitStack() as clients:
        exports = _find_exports(org, config, account, location)
        for export in exports:
            clients.enter_context(closing(export.warehouse.client))
        storage = storage_reader(account, settings=org.settings)
        if storage is not None:
            clients.enter_context(closing(storage.transport))
        return ExportDays(org, config, exports, storage).copy_days()


def _find_exports(
    org: OrgContext, config: BqEtlConfig, account: ServiceAccount, location: ExportLocation
) -> list[Export]:
    def connect(region: str | None) -> Warehouse:
        return customer_warehouse(
            account,
            project=account.project_id or location.project,
            location=region,
            max_bytes=config.max_bytes_billed,
            settings=org.settings,
        )

    finder = connect(None)
    with closing(finder.client), translate_denials(location.project):
        tables = find_exports(finder, location)
    org.log.info("billing exports: %s", ", ".join(f"{t.table} in {t.location}" for t in tables))
    return [Export(one, connect(one.location)) for one in tables]


@dataclass(frozen=True, slots=True)
class Export:
    """One export table, with the customer's client for its location."""

    table: ExportTable
    warehouse: Warehouse

    @property
    def name(self) -> str:
        """The name of the export in rows of our copy."""
        return f"{self.table.project}.{self.table.dataset}.{self.table.table}"

    def read_rows(
        self, reading: BulkQuery, *, storage: BigQueryReadClient | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Read the rows of a query; errors as `read_batches`, and as `translate_denials`."""
        with translate_denials(self.table.project):
            yield from read_batches(self.warehouse, reading, storage=storage)


class ExportDays(DaySource):
    """Days of one org's exports in one run."""

    def __init__(
        self,
        org: OrgContext,
        config: BqEtlConfig,
        exports: Sequence[Export],
        storage: BigQueryReadClient | None,
    ) -> None:
        self._org = org
        self._config = config
        self._exports = exports
        self._folder = org.settings.configs_dir
        self._storage = storage
        self._table = TableName(org.dataset, config.table)
        self.table = config.table
        self.shrink_limits = config.shrink_guard.build_limits()
        self.schema = load_template(
            self._folder / config.schema_file, config.schema_template, table=config.table
        )
        self._shapes = {
            one.name: ExportShape.of(
                one.table.columns,
                self.schema,
                source_table=one.name,
                created_at=one.table.created_at,
            )
            for one in exports
        }
        self._today = org.now().astimezone(UTC).date()
        self._undated = 0
        self._round_number = 0
        self._read_at = org.now()
        self._parts: dict[date, list[date]] = {}
        self._files: dict[date, DayFile] = {}
        self._attempts: Mapping[date, Attempt] = {}
        self._confirmed: dict[date, LedgerRow] = {}
        self._kept_days: set[date] = set()
        self._copy = CopiedRows(org, config, self._table)
        self._days_of_others: dict[str, set[date]] = {}

    def copy_days(self) -> StepResult:
        """Copy days with new rows first, then the due days."""
        org, config = self._org, self._config
        ensure_table(org.warehouse, self._table, self.schema)
        # Another export of an account is read only for days that were copied from it.
        others = [one for one in self._exports if not one.table.is_preferred]
        self._days_of_others = self._copy.list_days_of(others)
        unused = {one.name for one in others} - self._days_of_others.keys()
        self._exports = [one for one in self._exports if one.name not in unused]
        due = set(org.days)
        touched = self._find_touched_days() - due if self._is_search_due() else set()
        before = find_days_done_before(org, table=config.table)
        late = publish_accepted_days(org, self, _sort_newest_first(touched))
        published = publish_days(org, self, _sort_newest_first(due - before))
        late.raise_refused()
        return self._build_result(late, published, touched=touched, before=before)

    def _is_search_due(self) -> bool:
        """Return whether the run searches for new rows of other days.

        Only a run that is up to date does. Yesterday is due once a day; a run without it has
        requested days or loads history.
        """
        org = self._org
        requested = any(org.params.get(name) for name in DAY_PARAMS)
        return self._today - timedelta(days=1) in org.days and not requested

    def prepare(self, attempts: Mapping[date, Attempt], *, round_number: int) -> None:
        """Split the days into parts that one query reads; no part is read yet."""
        days, size = _sort_newest_first(attempts), self._config.days_per_query
        parts = [days[start : start + size] for start in range(0, len(days), size)]
        self._parts = {day: part for part in parts for day in part}
        self._round_number = round_number
        self._files = {}
        self._attempts = attempts
        self._confirmed = {}

    def content(self, day: date) -> DayContent | LedgerRow:
        """Return the rows of a day; the first day of a part reads the whole part."""
        if day not in self._files and day not in self._confirmed:
            self._read_at = self._org.now()
            self._files = self._read_days(self._parts[day])
        if day in self._confirmed:
            return self._confirmed[day]
        return DayContent(self._files[day], self._read_at)

    def _read_days(self, days: Sequence[date]) -> dict[date, DayFile]:
        """Read the days of every export from the start: query rows have no order to resume from."""
        folder = self._org.spool_dir / f"{days[-1]}_{days[0]}_{self._round_number}"
        spool = Spool.open(folder, fingerprint=fingerprint_of(REVISION, uuid4().hex))
        choices = self._copy.choose_rows(self._exports, days)
        self._kept_days.update(choices.kept_days)
        self._confirmed |= self._confirm_whole_days(choices, days)
        for export in self._exports:
            self._spool_export(export, days, spool, choices)
        for rows in _split_rows(self._copy.read_kept(choices, days), SPOOLED_ROWS):
            spool.write_page(rows, next_token=str(len(spool.records) + 1))
        spool.write_page((), next_token=None)
        return spool.write_day_files(
            day_of,
            days,
            money_of=net,
            figures=FigureSpec(
                query_version=build_query_version(
                    REVISION, self.schema, grouping=sorted(one.name for one in self._exports)
                ),
                measure=measure_row,
            ),
        )

    def _confirm_whole_days(
        self, choices: DayChoices, days: Sequence[date]
    ) -> dict[date, LedgerRow]:
        """Confirm the days that stay as they are."""
        rows = self._org.publisher.confirm_unchanged(
            [self._attempts[day] for day in days if choices.is_whole(day)],
            table=self._table,
            run_id=self._org.run_id,
            now=self._read_at,
            settle_days=self._org.pipeline.settle_days,
        )
        return {key.day: row for key, row in rows.items()}

    def _spool_export(
        self, export: Export, days: Sequence[date], spool: Spool, choices: DayChoices
    ) -> None:
        shape, first, last = self._shapes[export.name], days[-1], days[0]
        reading = BulkQuery(
            self._folder / self._config.rows_file,
            export.table.identifiers,
            {
                "first": _midnight(first),
                "after": _midnight(last + timedelta(days=1)),
                "days": sorted(days),
                "partitions_from": export.table.partitions_from(first, exported=False),
            },
        )
        for batch in export.read_rows(reading, storage=self._storage):
            if self._org.stop.is_set():
                raise RetryableError("The task was stopped", first_day=first.isoformat())
            for start in range(0, batch.num_rows, SPOOLED_ROWS):
                part = batch.slice(start, SPOOLED_ROWS)
                rows = [
                    shape.row(row)
                    for row in part.to_pylist()
                    if choices.takes(
                        (row["usage_date"], row["billing_account_id"]),
                        export.name,
                        preferred=export.table.is_preferred,
                    )
                ]
                follows = str(len(spool.records) + 1)
                spool.write_page(rows, next_token=follows, raw_bytes=part.nbytes)

    def _find_touched_days(self) -> set[date]:
        """Find complete usage days with recently exported rows that our copy does not have."""
        since = _midnight(min(self._org.days) - timedelta(days=self._config.overlap_days))
        found: set[date] = set()
        for export in self._exports:
            theirs, ours = self._count_exported(export, since), self._count_copied(export, since)
            changed = {day for day, seen in theirs.items() if ours.get(day) != seen}
            if not export.table.is_preferred:
                changed &= self._days_of_others[export.name]
            found |= changed
        self._org.log.info("since %s exported: %d usage days to copy", since, len(found))
        return {day for day in found if day < self._today}

    def _count_exported(self, export: Export, since: datetime) -> dict[date, tuple[int, datetime]]:
        reading = BulkQuery(
            self._folder / self._config.touched_file,
            export.table.identifiers,
            {
                "since": since,
                "partitions_from": export.table.partitions_from(since.date(), exported=True),
            },
        )
        rows = [row for batch in export.read_rows(reading) for row in batch.to_pylist()]
        self._undated += sum(row["row_count"] for row in rows if row["usage_date"] is None)
        return _count_by_day(rows)

    def _count_copied(self, export: Export, since: datetime) -> dict[date, tuple[int, datetime]]:
        rows = run_file(
            self._org.warehouse,
            self._folder / self._config.published_file,
            identifiers={"dataset": self._table.dataset, "raw_table": self._table.table},
            params={"since": since, "source_table": export.name},
        )
        return _count_by_day(rows)

    def _build_result(
        self, late: Published, published: Published, *, touched: set[date], before: set[date]
    ) -> StepResult:
        unknown: Counter[str] = Counter()
        for shape in self._shapes.values():
            unknown += shape.unknown
        details: dict[str, Any] = {
            **published.build_details(),
            "days_done_before": len(before),
            "days_touched": [str(day) for day in sorted(touched)],
            "exports": [one.name for one in self._exports if one.table.is_preferred],
        }
        if self._kept_days:
            kept = [str(day) for day in sorted(self._kept_days)]
            details["days_with_kept_rows"] = kept
            self._org.log.warning(
                "The exports hold less of %d days than was copied before; the rows stay: %s",
                len(kept),
                ", ".join(kept[:MAX_LOGGED_DAYS]),
            )
        if self._undated:
            details["rows_without_usage_day"] = self._undated
        if unknown:
            details["unknown_fields"] = dict(sorted(unknown.items()))
        return StepResult(
            rows_processed=late.row_count + published.row_count,
            destination_table=str(self._table),
            details=details,
        )


def _split_rows(rows: Iterator[Row], size: int) -> Iterator[list[Row]]:
    while part := list(islice(rows, size)):
        yield part


def _sort_newest_first(days: Mapping[date, Any] | set[date]) -> list[date]:
    return sorted(days, reverse=True)


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time.min, UTC)


def _count_by_day(rows: Sequence[Row]) -> dict[date, tuple[int, datetime]]:
    """Return row count and last export time by usage day; rows without usage time have no day."""
    return {
        row["usage_date"]: (row["row_count"], row["exported_at"])
        for row in rows
        if row["usage_date"] is not None
    }
