"""Replace one day partition by one job.

A load or query job that truncates `table$YYYYMMDD` is atomic: a reader sees the old day or the
new one. It is not DML, so no DML quota applies.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Final

from google.cloud import bigquery

from convergence.errors import SchemaError, WarehouseError
from convergence.warehouse.client import Job, Warehouse
from convergence.warehouse.jobs import JobOutcome, run_job
from convergence.warehouse.names import TableName, labels, partition_id
from convergence.warehouse.query import run_file
from convergence.warehouse.schemas import TableSchema

_UPLOAD_TIMEOUT: Final = (10.0, 120.0)
TIME_GRAIN: Final = timedelta(milliseconds=1)
"""The times of a job have milliseconds, the last modification of a partition microseconds."""


@dataclass(frozen=True, slots=True)
class PartitionWrite:
    """The last write of a partition, from INFORMATION_SCHEMA.PARTITIONS.

    Attributes:
        modified_at: UTC time of the last write by a job or statement.
        rows: number of rows in the partition.
    """

    modified_at: datetime
    rows: int


def load_partition(
    w: Warehouse,
    table: TableName,
    day: date,
    ndjson: Path,
    *,
    schema: TableSchema,
    rows: int,
    job_base: str,
    job_labels: Mapping[str, str],
) -> JobOutcome:
    """Replace one day with the rows of a file; an empty file empties the day.

    The job has no schema: BigQuery checks the rows against the table, which may be wider than the
    schema file of this release. An empty file is loaded like any other: BigQuery runs the job and
    truncates the day (Apache Beam's BigQuery sink does the same), and a gzip file without rows
    still has bytes to upload.

    Args:
        w: the warehouse.
        table: an existing table, partitioned by day.
        day: UTC day; a row of another day fails the load.
        ndjson: gzip-compressed, one JSON object per line, amounts as strings.
        schema: the table's.
        rows: number of lines in the file; compared with the number of written rows.
        job_base: equal for equal content in the same run; see `names.job_base`.
        job_labels: labels of the job.

    Raises:
        WarehouseError: BigQuery rejects the load for good, with reason, job id and first details.
        WarehouseUnavailableError: a temporary failure, after every retry.
    """
    check_daily(table, schema)
    target = w.reference(table, partition=partition_id(day))
    config = bigquery.LoadJobConfig(
        source_format=bigquery.SourceFormat.NEWLINE_DELIMITED_JSON,
        write_disposition=bigquery.WriteDisposition.WRITE_TRUNCATE,
        create_disposition=bigquery.CreateDisposition.CREATE_NEVER,
        autodetect=False,
        ignore_unknown_values=False,
        max_bad_records=0,
        labels=labels(job_labels),
    )

    def submit(job_id: str) -> Job:
        with ndjson.open("rb") as file:
            return w.client.load_table_from_file(
                file,
                target,
                size=ndjson.stat().st_size,
                num_retries=1,  # of one request; the whole start is tried again by its id
                job_id=job_id,
                location=w.location,
                job_config=config,
                timeout=_UPLOAD_TIMEOUT,
            )

    outcome = run_job(
        w,
        base=job_base,
        target=f"{table}${partition_id(day)}",
        submit=submit,
        rows_of=_count_loaded_rows,
        still_stands=unchanged_since(w, table, day),
    )
    if outcome.rows != rows:
        raise WarehouseError(
            "The number of loaded rows differs from the number of rows in the file",
            job_id=outcome.job_id,
            rows=outcome.rows,
            expected=rows,
        )
    return outcome


def partition_writes(
    w: Warehouse, table: TableName, days: Sequence[date]
) -> dict[date, PartitionWrite]:
    """Return the last write of each day whose partition exists; an empty day may have none."""
    days_by_partition = {partition_id(day): day for day in days}
    if not days_by_partition:
        return {}
    rows = run_file(
        w,
        w.sql("warehouse/partition_writes.sql"),
        identifiers={"dataset": table.dataset},
        params={"table": table.table, "partitions": sorted(days_by_partition)},
    )
    return {
        days_by_partition[row["partition_id"]]: PartitionWrite(
            modified_at=row["last_modified_time"], rows=int(row["total_rows"])
        )
        for row in rows
    }


def is_intact(write: PartitionWrite | None, *, rows: int, written_by: datetime) -> bool:
    """Return whether a partition still has the rows of the job that ended at `written_by`.

    An empty day is intact if it has no partition, or a partition without rows.
    """
    if rows == 0:
        return write is None or write.rows == 0
    return write is not None and write.rows == rows and write.modified_at < written_by + TIME_GRAIN


def unchanged_since(w: Warehouse, table: TableName, day: date) -> Callable[[JobOutcome], bool]:
    """Return a function that checks whether a day still has the rows of a job."""

    def still_stands(outcome: JobOutcome) -> bool:
        write = partition_writes(w, table, [day]).get(day)
        return is_intact(write, rows=outcome.rows, written_by=outcome.ended_at)

    return still_stands


def check_daily(table: TableName, schema: TableSchema) -> None:
    """Raise SchemaError for a table that is not partitioned by day."""
    if schema.partition is None or schema.partition.type != "DAY":
        raise SchemaError("Only a table partitioned by day is published by day", table=str(table))


def _count_loaded_rows(job: Job) -> int:
    return int(job.output_rows or 0) if isinstance(job, bigquery.LoadJob) else 0
