"""Replace a day partition, or a whole table, with the rows of one query job.

As with loads, a reader sees the old rows or the new ones, and no DML quota applies.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import date
from pathlib import Path

from google.cloud import bigquery

from convergence.errors import SchemaError, WarehouseError
from convergence.warehouse.client import Job, Warehouse
from convergence.warehouse.jobs import JobOutcome, run_job
from convergence.warehouse.names import TableName, labels, partition_id
from convergence.warehouse.params import Param, query_parameters
from convergence.warehouse.partitions.publish import (
    PartitionWrite,
    check_daily,
    is_intact,
    unchanged_since,
)
from convergence.warehouse.query import Identifiers, naming_place, render, run_file
from convergence.warehouse.schemas import TableSchema


def query_partition(
    w: Warehouse,
    table: TableName,
    day: date,
    sql_path: Path,
    *,
    schema: TableSchema,
    identifiers: Identifiers,
    params: Mapping[str, Param],
    job_base: str,
    job_labels: Mapping[str, str],
    max_bytes: int | None = None,
    inputs_stand: Callable[[JobOutcome], bool] | None = None,
) -> JobOutcome:
    """Replace one day with the rows of a query; a query without rows empties the day.

    Args:
        w: the warehouse.
        table: an existing table, partitioned by day.
        day: UTC day; a row of another day fails the query.
        sql_path: the SELECT.
        schema: the table's.
        identifiers: for its Jinja.
        params: for its `@names`.
        job_base: equal for equal content in the same run; see `names.job_base`.
        job_labels: labels of the job.
        max_bytes: the bytes that the query may bill; by default the warehouse's limit.
        inputs_stand: returns whether the inputs are unchanged since an earlier call's job read
            them; if they changed, that job's rows are not used.

    Raises:
        SchemaError: the table has REQUIRED columns: the columns of a query are NULLABLE, and
            BigQuery rejects the change of mode.
        WarehouseError, WarehouseUnavailableError: as for `load_partition`.
    """
    check_daily(table, schema)
    with naming_place(w, sql_path, identifiers):
        return run_job(
            w,
            base=job_base,
            target=f"{table}${partition_id(day)}",
            submit=_build_submit(
                w,
                w.reference(table, partition=partition_id(day)),
                render(w, sql_path, identifiers),
                schema=schema,
                params=params,
                job_labels=job_labels,
                max_bytes=max_bytes,
            ),
            rows_of=lambda job: _count_rows(w, job),
            still_stands=_combine_checks(unchanged_since(w, table, day), inputs_stand),
        )


def query_table(
    w: Warehouse,
    table: TableName,
    sql_path: Path,
    *,
    schema: TableSchema,
    identifiers: Identifiers,
    params: Mapping[str, Param],
    job_base: str,
    job_labels: Mapping[str, str],
    max_bytes: int | None = None,
    inputs_stand: Callable[[JobOutcome], bool] | None = None,
) -> JobOutcome:
    """Replace a table without partitions with the rows of a query; see `query_partition`."""
    if schema.partition is not None:
        raise SchemaError("A table with partitions is not replaced as a whole", table=str(table))
    with naming_place(w, sql_path, identifiers):
        return run_job(
            w,
            base=job_base,
            target=str(table),
            submit=_build_submit(
                w,
                w.reference(table),
                render(w, sql_path, identifiers),
                schema=schema,
                params=params,
                job_labels=job_labels,
                max_bytes=max_bytes,
            ),
            rows_of=lambda job: _count_rows(w, job),
            still_stands=_combine_checks(_table_unchanged(w, table), inputs_stand),
        )


def table_writes(w: Warehouse, dataset: str, tables: Collection[str]) -> dict[str, PartitionWrite]:
    """Return the last write of each table; a partitioned table without rows is not included.

    Raises:
        WarehouseUnavailableError, WarehouseError: as every query.
    """
    if not tables:
        return {}
    rows = run_file(
        w,
        w.sql("warehouse/table_writes.sql"),
        identifiers={"dataset": dataset},
        params={"tables": sorted(set(tables))},
    )
    return {
        row["table_name"]: PartitionWrite(
            modified_at=row["last_modified_time"], rows=int(row["total_rows"])
        )
        for row in rows
    }


def _combine_checks(
    first: Callable[[JobOutcome], bool], second: Callable[[JobOutcome], bool] | None
) -> Callable[[JobOutcome], bool]:
    def check_both(outcome: JobOutcome) -> bool:
        return first(outcome) and (second is None or second(outcome))

    return check_both


def _table_unchanged(w: Warehouse, table: TableName) -> Callable[[JobOutcome], bool]:
    def still_stands(outcome: JobOutcome) -> bool:
        write = table_writes(w, table.dataset, [table.table]).get(table.table)
        return is_intact(write, rows=outcome.rows, written_by=outcome.ended_at)

    return still_stands


def _build_submit(
    w: Warehouse,
    target: bigquery.TableReference,
    sql: str,
    *,
    schema: TableSchema,
    params: Mapping[str, Param],
    job_labels: Mapping[str, str],
    max_bytes: int | None,
) -> Callable[[str], Job]:
    """Return a function that starts, under an id, the query whose rows replace the target."""
    if schema.required:
        raise SchemaError(
            "A table that a query fills can't have REQUIRED columns",
            table=target.table_id,
            columns=list(schema.required),
        )
    config = bigquery.QueryJobConfig(
        destination=target,
        write_disposition=bigquery.WriteDisposition.WRITE_TRUNCATE,
        create_disposition=bigquery.CreateDisposition.CREATE_NEVER,
        query_parameters=query_parameters(params),
        maximum_bytes_billed=max_bytes or w.max_bytes_billed,
        use_legacy_sql=False,
        use_query_cache=False,
        labels=labels(job_labels),
    )

    def submit(job_id: str) -> Job:
        return w.client.query(
            sql,
            job_config=config,
            job_id=job_id,
            location=w.location,
            job_retry=None,
            **w.call,
        )

    return submit


def _count_rows(w: Warehouse, job: Job) -> int:
    if not isinstance(job, bigquery.QueryJob):
        raise WarehouseError("The job with this id is not a query", job_id=job.job_id)
    result = job.result(page_size=1, retry=w.retry, timeout=w.timeouts.call, job_retry=None)
    return int(result.total_rows or 0)
