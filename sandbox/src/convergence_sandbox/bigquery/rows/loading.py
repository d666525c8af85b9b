"""Load jobs: rows from outside, checked, into a staging table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, TypeAlias

import duckdb
import pyarrow as pa

from convergence_sandbox.bigquery.database.storage import Storage
from convergence_sandbox.bigquery.errors import BigQueryError, invalid
from convergence_sandbox.bigquery.resources.fields import Field, Schema
from convergence_sandbox.bigquery.rows.columns import plain_table
from convergence_sandbox.bigquery.rows.validate import RowError, RowReader
from convergence_sandbox.bigquery.rows.writes import Staged
from convergence_sandbox.bigquery.sql.types import SqlType, of_field, quote

Batch: TypeAlias = "pa.Table | Sequence[Mapping[str, Any]]"
CHUNK_ROWS = 20_000


def stage_rows(
    cursor: duckdb.DuckDBPyConnection,
    batches: Iterable[Batch],
    *,
    schema: Schema,
    storage: Storage,
    ignore_unknown: bool = False,
    max_bad_rows: int = 0,
) -> Staged:
    """Check rows against the schema and put them in a temporary table.

    Raises:
        BigQueryError: more than `max_bad_rows` rows are rejected; names the first.
    """
    staged = Staged(storage.unique("stage"), schema)
    columns = ", ".join(f"{quote(field.name)} {of_field(field).duck}" for field in schema.fields)
    cursor.execute(f"CREATE TEMP TABLE {quote(staged.name)} ({columns or '_none INT'})")
    reader = RowReader(schema, ignore_unknown=ignore_unknown)
    position, bad = 0, 0
    for rows in _chunks(batches):
        quick = plain_table(rows, schema)
        if quick is None:
            good, rejected = read_rows(reader, rows)
            for index, fault in rejected:
                bad += 1
                if bad > max_bad_rows:
                    raise _load_error(fault, position + index + 1)
            quick = reader.table(good)
        _append(cursor, staged, quick)
        position += len(rows)
    return staged


def read_rows(
    reader: RowReader, rows: Sequence[Mapping[str, Any]]
) -> tuple[list[dict[str, Any]], list[tuple[int, RowError]]]:
    """Return the rows that are in order, and the others' places and faults."""
    good, rejected = [], []
    for index, row in enumerate(rows):
        try:
            good.append(reader.read(row))
        except RowError as fault:
            rejected.append((index, fault))
    return good, rejected


def _load_error(fault: RowError, row: int) -> BigQueryError:
    return invalid(
        "Error while reading data, error message: JSON table encountered too many errors, giving"
        f" up. Row {row}: {fault}",
        location=fault.location or None,
    )


def _chunks(batches: Iterable[Batch]) -> Iterator[list[Mapping[str, Any]]]:
    for batch in batches:
        if isinstance(batch, pa.Table):
            for part in batch.to_batches(max_chunksize=CHUNK_ROWS):
                yield part.to_pylist()
            continue
        rows = iter(batch)
        while chunk := list(islice(rows, CHUNK_ROWS)):
            yield chunk


def _append(cursor: duckdb.DuckDBPyConnection, staged: Staged, rows: pa.Table) -> None:
    if not rows.num_rows or not staged.schema.fields:
        return
    values = [staged_sql(of_field(field), quote(field.name)) for field in staged.schema.fields]
    cursor.register("incoming", rows)
    try:
        cursor.execute(f"INSERT INTO {quote(staged.name)} SELECT {', '.join(values)} FROM incoming")
    finally:
        cursor.unregister("incoming")


def staged_sql(kind: SqlType, value: str) -> str:
    """The stored form of a column as the row reader gives it (BIGNUM and JSON come as text)."""
    return f"CAST({value} AS {kind.duck})" if kind.holds("BIGNUMERIC", "JSON") else value


def inferred_schema(batch: Batch) -> Schema:
    """Return the schema of Arrow columns, for a load without one (`autodetect` of Parquet).

    Raises:
        BigQueryError: 400 for rows that carry no types.
    """
    if not isinstance(batch, pa.Table):
        raise invalid("No schema specified on job or table.")
    return Schema(tuple(_inferred(field.name, field.type) for field in batch.schema))


_INFERRED = (
    (pa.types.is_boolean, "BOOLEAN"),
    (pa.types.is_integer, "INTEGER"),
    (pa.types.is_floating, "FLOAT"),
    (pa.types.is_string, "STRING"),
    (pa.types.is_large_string, "STRING"),
    (pa.types.is_binary, "BYTES"),
    (pa.types.is_date, "DATE"),
    (pa.types.is_time, "TIME"),
)


def _inferred(name: str, kind: pa.DataType) -> Field:
    if pa.types.is_list(kind):
        return replace(_inferred(name, kind.value_type), mode="REPEATED")
    if pa.types.is_struct(kind):
        children = tuple(_inferred(child.name, child.type) for child in kind)
        return Field(name, "RECORD", fields=children)
    if pa.types.is_timestamp(kind):
        return Field(name, "TIMESTAMP" if kind.tz else "DATETIME")
    if pa.types.is_decimal(kind):
        fits = kind.scale <= 9 and kind.precision - kind.scale <= 29
        return Field(name, "NUMERIC" if fits else "BIGNUMERIC")
    for matches, made in _INFERRED:
        if matches(kind):
            return Field(name, made)
    raise invalid(f"Cannot infer a column type for {name} from {kind}")
