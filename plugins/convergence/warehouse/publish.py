"""One day partition, replaced by one job.

A load or query job that truncates `table$YYYYMMDD` is atomic: a reader sees the old day or the
new one. It is no DML, so no DML quota applies.
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
"""A job's times have whole milliseconds, a partition's last modification has microseconds."""


@dataclass(frozen=True, slots=True)
class PartitionWrite:
    """What INFORMATION_SCHEMA.PARTITIONS knows of a partition.

    Attributes:
        modified_at: when a job or statement last wrote it, UTC.
        rows: what it holds.
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

    The job carries no schema of its own: rows are checked against the table's, which may be
    wider than the file of this release. An empty file is a load like any other: BigQuery runs it
    and truncates (Apache Beam's BigQuery sink empties tables so), and a gzip file of no rows has
    bytes to upload.

    Args:
        w: the warehouse.
        table: an existing table, partitioned by day.
        day: UTC day; a row of another day fails the load.
        ndjson: gzip-compressed, one JSON object per line, amounts as strings.
        schema: the table's.
        rows: lines in the file, compared with what the job wrote.
        job_base: the same for the same content in the same run; see `names.job_base`.
        job_labels: kept with the job.

    Raises:
        WarehouseError: refused for good, with reason, job id and BigQuery's first details.
        WarehouseUnavailableError: passing reasons, after every retry.
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
        rows_of=_loaded_rows,
        still_stands=unchanged_since(w, table, day),
    )
    if outcome.rows != rows:
        raise WarehouseError(
            "The load wrote another number of rows than its file has",
            job_id=outcome.job_id,
            rows=outcome.rows,
            expected=rows,
        )
    return outcome


def partition_writes(
    w: Warehouse, table: TableName, days: Sequence[date]
) -> dict[date, PartitionWrite]:
    """Who-was-last for the days whose partitions exist; an empty day may have none."""
    wanted = {partition_id(day): day for day in days}
    if not wanted:
        return {}
    rows = run_file(
        w,
        w.sql("warehouse/partition_writes.sql"),
        identifiers={"dataset": table.dataset},
        params={"table": table.table, "partitions": sorted(wanted)},
    )
    return {
        wanted[row["partition_id"]]: PartitionWrite(
            modified_at=row["last_modified_time"], rows=int(row["total_rows"])
        )
        for row in rows
    }


def is_intact(write: PartitionWrite | None, *, rows: int, written_by: datetime) -> bool:
    """Whether a partition is still what the job that ended at `written_by` left.

    Of an empty day nothing can be lost: no partition, or one without rows, is it.
    """
    if rows == 0:
        return write is None or write.rows == 0
    return write is not None and write.rows == rows and write.modified_at < written_by + TIME_GRAIN


def unchanged_since(w: Warehouse, table: TableName, day: date) -> Callable[[JobOutcome], bool]:
    """What tells whether a day is still what a job left."""

    def still_stands(outcome: JobOutcome) -> bool:
        write = partition_writes(w, table, [day]).get(day)
        return is_intact(write, rows=outcome.rows, written_by=outcome.ended_at)

    return still_stands


def check_daily(table: TableName, schema: TableSchema) -> None:
    """Raises SchemaError for a table that is not partitioned by day."""
    if schema.partition is None or schema.partition.type != "DAY":
        raise SchemaError("Only a table partitioned by day is published by day", table=str(table))


def _loaded_rows(job: Job) -> int:
    return int(job.output_rows or 0) if isinstance(job, bigquery.LoadJob) else 0
