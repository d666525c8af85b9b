"""Bytes a query processes: rows that its partition filters leave, times the columns' widths.

Sizes by type: https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types
"""

from __future__ import annotations

from collections.abc import Iterable

import duckdb

from convergence_sandbox.bigquery.database.storage import scalar
from convergence_sandbox.bigquery.resources.model import TableMeta
from convergence_sandbox.bigquery.resources.tables import stored_name
from convergence_sandbox.bigquery.sql.context import TableInstance
from convergence_sandbox.bigquery.sql.types import of_field, quote

_SAMPLE_ROWS = 1_000
_WIDTHS = {
    "INT64": 8,
    "FLOAT64": 8,
    "NUMERIC": 16,
    "BIGNUMERIC": 32,
    "BOOL": 1,
    "DATE": 8,
    "TIME": 8,
    "DATETIME": 8,
    "TIMESTAMP": 8,
    "INTERVAL": 16,
}

MEGABYTE = 1024 * 1024
LEAST_BILLED = 10 * MEGABYTE


def bytes_processed(cursor: duckdb.DuckDBPyConnection, instances: Iterable[TableInstance]) -> int:
    """Return the estimate for the tables a compiled query reads."""
    total = 0
    for one in instances:
        where = " AND ".join(one.filters)
        rows = _count(cursor, one.meta, one.alias, where)
        if rows:
            total += rows * _width(cursor, one.meta, one.columns)
    return total


def row_width(cursor: duckdb.DuckDBPyConnection, meta: TableMeta) -> int:
    """Return the average bytes of a whole row."""
    return _width(cursor, meta, {field.name for field in meta.schema.fields})


def _count(cursor: duckdb.DuckDBPyConnection, meta: TableMeta, alias: str, where: str) -> int:
    condition = f" WHERE {where}" if where else ""
    return int(
        scalar(cursor, f"SELECT count(*) FROM {stored_name(meta)} AS {quote(alias)}{condition}")
    )


def _width(cursor: duckdb.DuckDBPyConnection, meta: TableMeta, names: set[str]) -> int:
    fixed, measured = 0, []
    for field in meta.schema.fields:
        if field.name not in names:
            continue
        kind = of_field(field)
        if kind.kind in _WIDTHS:
            fixed += _WIDTHS[kind.kind]
        elif kind.kind == "BYTES":
            measured.append(f"coalesce(octet_length({quote(field.name)}), 0)")
        else:
            measured.append(f"coalesce(strlen(CAST({quote(field.name)} AS VARCHAR)) + 2, 0)")
    if not measured:
        return fixed
    columns = ", ".join(quote(field.name) for field in meta.schema.fields)
    sample = f"SELECT {columns} FROM {stored_name(meta)} LIMIT {_SAMPLE_ROWS}"
    average = scalar(cursor, f"SELECT avg({' + '.join(measured)}) FROM ({sample}) AS s")
    return fixed + int(average or 0)


def billed_bytes(size: int, *, tables: int) -> int:
    """Bytes a query is billed for: whole megabytes, and at least ten for each table it reads.

    https://cloud.google.com/bigquery/pricing#on_demand_pricing
    """
    return max(tables * LEAST_BILLED, -(-size // MEGABYTE) * MEGABYTE)
