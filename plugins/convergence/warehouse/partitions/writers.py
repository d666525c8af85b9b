"""Find the last writes of tables: their times, and the job that wrote a partition."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

from google.cloud import bigquery

from convergence.warehouse.bigquery_errors import translated_errors
from convergence.warehouse.client import Job, Warehouse
from convergence.warehouse.names import TableName, partition_id
from convergence.warehouse.params import typed
from convergence.warehouse.partitions.publish import TIME_GRAIN, PartitionWrite
from convergence.warehouse.query import run_file

_MAX_JOB_DURATION: Final = timedelta(hours=6)
"""BigQuery stops a query or load job after this time (cloud.google.com/bigquery/quotas)."""
_MAX_JOBS_READ: Final = 20_000


@dataclass(frozen=True, slots=True)
class InputWrites:
    """The last writes of a query's inputs; a partition or table without rows may be missing.

    Attributes:
        daily: by table and day.
        whole: by table.
    """

    daily: Mapping[tuple[str, date], PartitionWrite]
    whole: Mapping[str, PartitionWrite]

    def for_day(self, day: date) -> InputWrites:
        """Return the writes that matter for one day."""
        return InputWrites(
            {key: write for key, write in self.daily.items() if key[1] == day}, self.whole
        )

    def list_writes(self) -> list[PartitionWrite]:
        """Return every write."""
        return [*self.daily.values(), *self.whole.values()]


def input_writes(
    w: Warehouse,
    dataset: str,
    *,
    daily: Collection[str],
    days: Sequence[date],
    whole: Collection[str] = (),
) -> InputWrites:
    """Read the last writes of tables of one dataset, by one query.

    Args:
        w: the warehouse.
        dataset: of the tables.
        daily: tables partitioned by day, of which the given days matter.
        days: UTC days.
        whole: tables of which any row may matter.

    Raises:
        WarehouseUnavailableError, WarehouseError: as every query.
    """
    of_partition = {partition_id(day): day for day in days}
    rows = run_file(
        w,
        w.sql("warehouse/input_writes.sql"),
        identifiers={"dataset": dataset},
        params={
            "daily": typed(sorted(daily), "STRING"),
            "partitions": typed(sorted(of_partition), "STRING"),
            "whole": typed(sorted(set(whole) - set(daily)), "STRING"),
        },
    )
    found_daily: dict[tuple[str, date], PartitionWrite] = {}
    found_whole: dict[str, PartitionWrite] = {}
    for row in rows:
        write = PartitionWrite(row["last_modified_time"], int(row["total_rows"]))
        if row["table_name"] in daily:
            found_daily[row["table_name"], of_partition[row["slice_partition"]]] = write
        else:
            found_whole[row["table_name"]] = write
    return InputWrites(found_daily, found_whole)


def last_writer(w: Warehouse, table: TableName, day: date, write: PartitionWrite) -> Job | None:
    """Find our job that last wrote a day's partition, by the time of the write.

    Reads the project's jobs that began in the hours before the write: rare and slow.

    Args:
        w: the warehouse; its own jobs are listed, for which it needs no further right.
        table: partitioned by day.
        day: UTC day.
        write: the partition's last write.

    Returns:
        The job; None where none or several jobs were writing at that moment.

    Raises:
        WarehouseUnavailableError, WarehouseError: as every call.
    """
    target = w.reference(table, partition=partition_id(day))
    with translated_errors("listing jobs", table=str(table)):
        found = [
            job
            for job in w.client.list_jobs(
                max_results=_MAX_JOBS_READ,
                state_filter="done",
                min_creation_time=write.modified_at - _MAX_JOB_DURATION,
                max_creation_time=write.modified_at + TIME_GRAIN,
                **w.call,
            )
            if isinstance(job, bigquery.LoadJob | bigquery.QueryJob)
            and job.destination == target
            and _may_have_written(job, write)
        ]
    return found[0] if len(found) == 1 else None


def _may_have_written(job: Job, write: PartitionWrite) -> bool:
    if job.error_result or job.started is None or job.ended is None:
        return False
    return bool(job.started <= write.modified_at < job.ended + TIME_GRAIN)
