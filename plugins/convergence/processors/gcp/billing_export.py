"""From the customer's billing export to our copy of it, usage day by usage day.

Rows of an export have no id, and several that look alike are several charges: nothing can be
merged. So a day is never added to. What was exported lately tells which usage days it touched, and
each of those is read whole and replaced, however long ago it was.

There is no mark of how far was read: the ledger is it. The oldest day that is still due, less an
overlap, is where looking begins; days outside of what is due are published first, so as long as
one of them fails, the due ones stay due and the next run looks as far back again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from convergence.errors import RetryableError
from convergence.extract.spool import Spool, fingerprint_of
from convergence.processors.context import OrgContext, StepResult
from convergence.processors.gcp.access import (
    customer_warehouse,
    refusals_told,
    service_account,
    storage_reader,
)
from convergence.processors.gcp.config import BqEtlConfig
from convergence.processors.gcp.exports import ExportTable, Wanted, find_exports
from convergence.processors.gcp.shape import ExportShape, net
from convergence.processors.lib.daily.extraction import publish_sealed
from convergence.processors.lib.daily.fields import day_of
from convergence.processors.lib.daily.slices import Publish, Published, done_before, publish_days
from convergence.processors.lib.schema_templates import load_template
from convergence.providers.google import ServiceAccount
from convergence.runs.publisher import Attempt
from convergence.warehouse.bulk_read import BulkQuery, read_batches
from convergence.warehouse.client import Warehouse
from convergence.warehouse.day_file import DayFile
from convergence.warehouse.evolve import ensure_table
from convergence.warehouse.names import TableName
from convergence.warehouse.query import Row, run_file

if TYPE_CHECKING:
    import pyarrow as pa
    from google.cloud.bigquery_storage import BigQueryReadClient

ASKED = ("date", "start_date", "end_date")
"""Params of a run that was asked for days: it does those and looks for no others."""
SPOOLED_ROWS = 1_000
"""Rows of a page on disk, and so in memory as Python's objects, which are ten times as large."""
REVISION = 1
"""Rises when the same export makes other rows."""


def copy_export(org: OrgContext, config: BqEtlConfig) -> StepResult:
    """Copy the days that are due and those that were touched; errors as `BqEtl.run`."""
    table = TableName(org.dataset, config.table)
    if not org.days:
        return StepResult(status="SKIPPED", destination_table=str(table))
    account = service_account(org)
    wanted = Wanted.read(org.params, own_project=account.project_id)
    with ExitStack() as clients:
        exports = _exports(org, config, account, wanted)
        for export in exports:
            clients.enter_context(closing(export.warehouse.client))
        storage = storage_reader(account, settings=org.settings)
        if storage is not None:
            clients.enter_context(closing(storage.transport))
        return Copy(org, config, exports, storage).run()


def _exports(
    org: OrgContext, config: BqEtlConfig, account: ServiceAccount, wanted: Wanted
) -> list[Export]:
    def connect(location: str | None) -> Warehouse:
        return customer_warehouse(
            account,
            project=account.project_id or wanted.project,
            location=location,
            max_bytes=config.max_bytes_billed,
            settings=org.settings,
        )

    looking = connect(None)
    with closing(looking.client), refusals_told(wanted.project):
        tables = find_exports(looking, wanted)
    org.log.info("billing exports: %s", ", ".join(f"{t.table} in {t.location}" for t in tables))
    return [Export(one, connect(one.location)) for one in tables]


@dataclass(frozen=True, slots=True)
class Export:
    """One export, with the customer's client for its location."""

    table: ExportTable
    warehouse: Warehouse

    @property
    def name(self) -> str:
        """As rows of our copy name it."""
        return f"{self.table.project}.{self.table.dataset}.{self.table.table}"

    def read(
        self, reading: BulkQuery, *, storage: BigQueryReadClient | None = None
    ) -> Iterator[pa.RecordBatch]:
        """The rows of a query; errors as `read_batches`, and as `refusals_told`."""
        with refusals_told(self.table.project):
            yield from read_batches(self.warehouse, reading, storage=storage)


class Copy:
    """One org's exports in one run."""

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
        self._schema = load_template(
            self._folder / config.schema_file, config.schema_template, table=config.table
        )
        self._shapes = {
            one.name: ExportShape.of(one.table.columns, self._schema, source_table=one.name)
            for one in exports
        }
        self._today = org.now().astimezone(UTC).date()
        self._undated = 0

    def run(self) -> StepResult:
        """Touched days first, then those that are due."""
        org, config = self._org, self._config
        ensure_table(org.warehouse, self._table, self._schema)
        due = set(org.days)
        touched = self._touched() - due if self._looks() else set()
        before = done_before(org, table=config.table)
        late = publish_days(org, _newest(touched), table=config.table, make=self.make)
        published = publish_days(org, _newest(due - before), table=config.table, make=self.make)
        return self._result(late, published, touched=touched, before=before)

    def _looks(self) -> bool:
        """Whether the run looks for days beyond its own: one that is up to date does.

        Yesterday is due once a day; a run without it was asked for its days, or brings history.
        """
        org = self._org
        asked = any(org.params.get(name) for name in ASKED)
        return self._today - timedelta(days=1) in org.days and not asked

    def make(self, attempts: Mapping[date, Attempt], round_: int) -> Iterator[tuple[date, Publish]]:
        """The content of the days whose attempts are given, newest first."""
        days = _newest(attempts)
        for start in range(0, len(days), self._config.days_per_query):
            part, now = days[start : start + self._config.days_per_query], self._org.now()
            sealed = self._sealed(part, round_)
            for day in part:
                yield (
                    day,
                    partial(
                        publish_sealed,
                        self._org,
                        attempts[day],
                        sealed[day],
                        table=self._config.table,
                        schema=self._schema,
                        now=now,
                    ),
                )

    def _sealed(self, days: Sequence[date], round_: int) -> dict[date, DayFile]:
        """The days of every export, read anew: a query's rows come in no order to go on from."""
        folder = self._org.spool_dir / f"{days[-1]}_{days[0]}_{round_}"
        spool = Spool.open(folder, fingerprint=fingerprint_of(REVISION, uuid4().hex))
        for export in self._exports:
            self._spool(export, days, spool)
        spool.write_page((), next_token=None)
        return spool.write_day_files(day_of, days, money_of=net)

    def _spool(self, export: Export, days: Sequence[date], spool: Spool) -> None:
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
        for batch in export.read(reading, storage=self._storage):
            if self._org.stop.is_set():
                raise RetryableError("The task was stopped", first_day=first.isoformat())
            for start in range(0, batch.num_rows, SPOOLED_ROWS):
                part = batch.slice(start, SPOOLED_ROWS)
                rows = [shape.row(row) for row in part.to_pylist()]
                follows = str(len(spool.records) + 1)
                spool.write_page(rows, next_token=follows, raw_bytes=part.nbytes)

    def _touched(self) -> set[date]:
        """Complete usage days of which rows were exported lately that we have not."""
        since = _midnight(min(self._org.days) - timedelta(days=self._config.overlap_days))
        found: set[date] = set()
        for export in self._exports:
            theirs, ours = self._theirs(export, since), self._ours(export, since)
            found |= {day for day, seen in theirs.items() if ours.get(day) != seen}
        self._org.log.info("since %s exported: %d usage days to copy", since, len(found))
        return {day for day in found if day < self._today}

    def _theirs(self, export: Export, since: datetime) -> dict[date, tuple[int, datetime]]:
        reading = BulkQuery(
            self._folder / self._config.touched_file,
            export.table.identifiers,
            {
                "since": since,
                "partitions_from": export.table.partitions_from(since.date(), exported=True),
            },
        )
        rows = [row for batch in export.read(reading) for row in batch.to_pylist()]
        self._undated += sum(row["row_count"] for row in rows if row["usage_date"] is None)
        return _by_day(rows)

    def _ours(self, export: Export, since: datetime) -> dict[date, tuple[int, datetime]]:
        rows = run_file(
            self._org.warehouse,
            self._folder / self._config.published_file,
            identifiers={"dataset": self._table.dataset, "raw_table": self._table.table},
            params={"since": since, "source_table": export.name},
        )
        return _by_day(rows)

    def _result(
        self, late: Published, published: Published, *, touched: set[date], before: set[date]
    ) -> StepResult:
        unknown: Counter[str] = Counter()
        for shape in self._shapes.values():
            unknown += shape.unknown
        facts: dict[str, Any] = {
            **published.facts(),
            "days_done_before": len(before),
            "days_touched": [str(day) for day in sorted(touched)],
            "exports": [export.name for export in self._exports],
        }
        if self._undated:
            facts["rows_without_usage_day"] = self._undated
        if unknown:
            facts["unknown_fields"] = dict(sorted(unknown.items()))
        return StepResult(
            rows_processed=late.row_count + published.row_count,
            destination_table=str(self._table),
            details=facts,
        )


def _newest(days: Mapping[date, Any] | set[date]) -> list[date]:
    return sorted(days, reverse=True)


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time.min, UTC)


def _by_day(rows: Sequence[Row]) -> dict[date, tuple[int, datetime]]:
    """Usage day → how many rows, until when exported; rows without usage time have no day."""
    return {
        row["usage_date"]: (row["row_count"], row["exported_at"])
        for row in rows
        if row["usage_date"] is not None
    }
