"""Partitions: ids, decorators, and the DuckDB conditions that select them.

A partitioned table is one DuckDB table; a partition is a condition on its partition column, so
replacing one is a DELETE and an INSERT in one transaction. Tables partitioned by ingestion time
have a hidden column `_PARTITIONTIME`.
https://cloud.google.com/bigquery/docs/partitioned-tables
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass, replace

import duckdb

from convergence_sandbox.bigquery.errors import invalid
from convergence_sandbox.bigquery.resources.model import TableMeta, TableRef
from convergence_sandbox.bigquery.sql.types import quote, text

INGESTION_COLUMN = "_PARTITIONTIME"
NULL_PARTITION = "__NULL__"
UNPARTITIONED = "__UNPARTITIONED__"
FORMATS = {"HOUR": "%Y%m%d%H", "DAY": "%Y%m%d", "MONTH": "%Y%m", "YEAR": "%Y"}
_DIGITS = {"HOUR": 10, "DAY": 8, "MONTH": 6, "YEAR": 4}


@dataclass(frozen=True, slots=True)
class Destination:
    """A table, or one partition of it."""

    ref: TableRef
    partition: str | None = None


def destination(ref: TableRef) -> Destination:
    """Split `table$20251125` into the table and its partition."""
    table, mark, partition = ref.table.partition("$")
    if mark and not partition:
        raise invalid(f"Invalid table ID {ref.table}: the partition decorator is empty")
    return Destination(replace(ref, table=table), partition or None)


def partition_column(meta: TableMeta) -> str | None:
    """Return the stored column that says which partition a row is in."""
    return INGESTION_COLUMN if meta.by_ingestion else meta.partition_field


def partition_id_sql(meta: TableMeta, column: str | None = None) -> str:
    """Return the DuckDB expression of a row's partition id (`''` for an unpartitioned table).

    Args:
        meta: the table.
        column: SQL of the partition column, where it is not the bare column.
    """
    name = partition_column(meta)
    if name is None:
        return "''"
    column = column or quote(name)
    span = meta.range_partitioning
    if span is not None:
        bucket = f"{span.start} + (({column} - {span.start}) // {span.interval}) * {span.interval}"
        return (
            f"CASE WHEN {column} IS NULL THEN '{NULL_PARTITION}'"
            f" WHEN {column} < {span.start} OR {column} >= {span.end} THEN '{UNPARTITIONED}'"
            f" ELSE CAST({bucket} AS VARCHAR) END"
        )
    form = FORMATS[meta.time_partitioning.type if meta.time_partitioning else "DAY"]
    return f"coalesce(strftime(CAST({column} AS TIMESTAMP), '{form}'), '{NULL_PARTITION}')"


def partition_condition(meta: TableMeta, partition: str) -> str:
    """Return the DuckDB condition that selects one partition.

    Raises:
        BigQueryError: the table has no partitions, or not of that kind.
    """
    name = partition_column(meta)
    if name is None:
        raise invalid(
            f"Cannot read or write partition {partition} of table {meta.ref}: the table"
            " is not partitioned"
        )
    column = quote(name)
    if partition == NULL_PARTITION:
        return f"{column} IS NULL"
    if meta.range_partitioning is not None:
        return f"{partition_id_sql(meta)} = {text(partition)}"
    start, end = time_bounds(meta, partition)
    return f"{column} >= {text(start)} AND {column} < {text(end)}"


def time_bounds(meta: TableMeta, partition: str) -> tuple[str, str]:
    """First moment of a time partition and of the one after, as text in UTC."""
    kind = meta.time_partitioning.type if meta.time_partitioning else "DAY"
    start = parse_partition(partition, kind)
    if start is None:
        raise invalid(
            f"Invalid partition decorator: {partition} is no {kind} partition of table {meta.ref}"
        )
    try:
        end = _next(start, kind)
    except (OverflowError, ValueError):
        end = dt.datetime(9999, 12, 31, 23, 59, 59, 999999)  # noqa: DTZ001  # civil, in UTC
    return start.isoformat(sep=" "), end.isoformat(sep=" ")


def parse_partition(partition: str, kind: str) -> dt.datetime | None:
    """Return the first moment of a partition id of that kind, or None when it is none."""
    if len(partition) != _DIGITS[kind] or not partition.isdecimal():
        return None
    try:
        return dt.datetime.strptime(partition, FORMATS[kind])  # noqa: DTZ007  # civil, in UTC
    except ValueError:
        return None


def _next(start: dt.datetime, kind: str) -> dt.datetime:
    if kind == "HOUR":
        return start + dt.timedelta(hours=1)
    if kind == "DAY":
        return start + dt.timedelta(days=1)
    if kind == "MONTH":
        return start.replace(year=start.year + start.month // 12, month=start.month % 12 + 1)
    return start.replace(year=start.year + 1)


def mark_written(
    cursor: duckdb.DuckDBPyConnection, meta: TableMeta, partitions: Iterable[str]
) -> None:
    """Record that these partitions were written in this transaction, at this moment."""
    ids = sorted(set(partitions))
    if not ids or meta.is_temporary:
        return
    cursor.execute(
        "DELETE FROM meta.partitions WHERE physical = ? AND partition_id IN (SELECT unnest(?))",
        [meta.physical, ids],
    )
    # clock_timestamp would be the same: the write lock orders the transactions' starts.
    cursor.execute("INSERT INTO meta.partitions SELECT ?, unnest(?), now()", [meta.physical, ids])
