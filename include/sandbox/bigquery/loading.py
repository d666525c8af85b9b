"""Load jobs and streaming inserts: rows from outside into a table."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import duckdb
import pyarrow as pa

from sandbox.bigquery import partitions, tables
from sandbox.bigquery.catalog import Session
from sandbox.bigquery.errors import BigQueryError, invalid
from sandbox.bigquery.fields import Field, Json, Schema
from sandbox.bigquery.sql.types import SqlType, of_field, quote
from sandbox.bigquery.storage import Storage
from sandbox.bigquery.validate import RowFault, RowReader, arrow_type
from sandbox.bigquery.writes import Staged, ingestion_moment

Batch = pa.Table | Sequence[Mapping[str, Any]]
CHUNK_ROWS = 20_000
REMEMBERED_INSERTS = 100_000
INSERT_ID_SECONDS = 60.0


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
        BigQueryError: more than `max_bad_rows` rows are refused; names the first.
    """
    staged = Staged(storage.unique("stage"), schema)
    columns = ", ".join(f"{quote(field.name)} {of_field(field).duck}" for field in schema.fields)
    cursor.execute(f"CREATE TEMP TABLE {quote(staged.name)} ({columns or '_none INT'})")
    reader = RowReader(schema, ignore_unknown=ignore_unknown)
    position, bad = 0, 0
    for rows in _chunks(batches):
        good = []
        for row in rows:
            try:
                good.append(reader.read(row))
            except RowFault as fault:
                bad += 1
                if bad > max_bad_rows:
                    raise _load_error(fault, position + 1) from None
            position += 1
        _append(cursor, staged, reader.table(good))
    return staged


def _load_error(fault: RowFault, row: int) -> BigQueryError:
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


class Streams:
    """Streaming inserts: remembered insert ids, and which tables have fresh rows.

    BigQuery's de-duplication by `insertId` is best effort within about a minute, and so is this.
    """

    def __init__(self) -> None:
        self._seen: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._buffered: set[str] = set()
        self._lock = threading.Lock()

    def is_buffered(self, physical: str) -> bool:
        """Whether rows were streamed into this table since the process started."""
        return physical in self._buffered

    def insert(
        self,
        session: Session,
        ref_rows: tuple[partitions.Destination, Sequence[Json]],
        *,
        skip_invalid: bool,
        ignore_unknown: bool,
    ) -> list[Json]:
        """Write the valid rows and answer `insertErrors`."""
        target, rows = ref_rows
        meta = tables.live_table(session, target.ref)
        good, errors = _read_all(meta.schema.fields, rows, ignore_unknown=ignore_unknown)
        if errors and not skip_invalid:
            stopped = {"reason": "stopped", "location": "", "debugInfo": "", "message": ""}
            bad = {error["index"] for error in errors}
            errors += [{"index": i, "errors": [stopped]} for i in range(len(rows)) if i not in bad]
            return sorted(errors, key=lambda error: int(error["index"]))
        fresh = [row for insert_id, row in good if self._is_new(meta.physical, insert_id)]
        if fresh:
            self._write(session, target, fresh)
        return errors

    def _is_new(self, physical: str, insert_id: str | None) -> bool:
        if not insert_id:
            return True
        now, key = time.monotonic(), (physical, insert_id)
        with self._lock:
            known = self._seen.get(key)
            if known is not None and now - known < INSERT_ID_SECONDS:
                return False
            self._seen[key] = now
            while len(self._seen) > REMEMBERED_INSERTS:
                self._seen.popitem(last=False)
        return True

    def _write(
        self, session: Session, target: partitions.Destination, rows: list[dict[str, Any]]
    ) -> None:
        meta = tables.live_table(session, target.ref)
        arrow = RowReader(meta.schema).table(rows)
        names = [quote(field.name) for field in meta.schema.fields]
        values = [staged_sql(of_field(field), quote(field.name)) for field in meta.schema.fields]
        moment = None
        if meta.by_ingestion:
            moment = ingestion_moment(meta, target.partition)
            names.append(quote(partitions.INGESTION_COLUMN))
            values.append(moment)
        session.cursor.register("incoming", arrow)
        try:
            session.cursor.execute(
                f"INSERT INTO {tables.stored(meta)} ({', '.join(names)})"
                f" SELECT {', '.join(values)} FROM incoming"
            )
            touched = session.cursor.execute(
                f"SELECT DISTINCT {partitions.partition_id_sql(meta, moment)} FROM incoming"
            ).fetchall()
        finally:
            session.cursor.unregister("incoming")
        partitions.mark_written(session.cursor, meta, {row[0] for row in touched})
        self._buffered.add(meta.physical)


def _read_all(
    fields: tuple[Field, ...], rows: Sequence[Json], *, ignore_unknown: bool
) -> tuple[list[tuple[str | None, dict[str, Any]]], list[Json]]:
    reader = RowReader(Schema(fields), ignore_unknown=ignore_unknown)
    good, errors = [], []
    for index, row in enumerate(rows):
        try:
            good.append((row.get("insertId"), reader.read(row.get("json") or {})))
        except RowFault as fault:
            entry = {
                "reason": "invalid",
                "location": fault.location,
                "debugInfo": "",
                "message": str(fault),
            }
            errors.append({"index": index, "errors": [entry]})
    return good, errors


def inferred_schema(batch: Batch) -> Schema:
    """The schema of Arrow columns, for a load without one (`autodetect` of Parquet).

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


__all__ = ["Batch", "Streams", "arrow_type", "inferred_schema", "stage_rows", "staged_sql"]
