"""Streaming inserts: `tabledata.insertAll`, its de-duplication, and its buffer.

BigQuery's de-duplication by `insertId` is best effort within about a minute, and so is this.
https://cloud.google.com/bigquery/docs/streaming-data-into-bigquery
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any

from convergence_sandbox.bigquery.resources import partitions, tables
from convergence_sandbox.bigquery.resources.catalog import Session
from convergence_sandbox.bigquery.resources.fields import Json
from convergence_sandbox.bigquery.resources.model import TableMeta
from convergence_sandbox.bigquery.rows.loading import read_rows, staged_sql
from convergence_sandbox.bigquery.rows.validate import RowError, RowReader
from convergence_sandbox.bigquery.rows.writes import ingestion_moment
from convergence_sandbox.bigquery.sql.types import of_field, quote

REMEMBERED_INSERTS = 100_000
INSERT_ID_SECONDS = 60.0
Key = tuple[str, str]


class Streams:
    """Remembers recent insert ids, and which tables have had rows streamed into them."""

    def __init__(self) -> None:
        self._seen: OrderedDict[Key, float] = OrderedDict()
        self._buffered: set[str] = set()
        self._lock = threading.Lock()

    def is_buffered(self, physical: str) -> bool:
        """Return whether rows were streamed into this table since the process started."""
        return physical in self._buffered

    def is_new(self, key: Key) -> bool:
        """Return whether the insert id was not seen lately; from now on it has been."""
        now = time.monotonic()
        with self._lock:
            known = self._seen.get(key)
            if known is not None and now - known < INSERT_ID_SECONDS:
                return False
            self._seen[key] = now
            while len(self._seen) > REMEMBERED_INSERTS:
                self._seen.popitem(last=False)
        return True

    def forget(self, keys: Iterable[Key]) -> None:
        """Take insert ids back whose rows were not written after all."""
        with self._lock:
            for key in keys:
                self._seen.pop(key, None)

    def insert(
        self,
        session: Session,
        target: partitions.Destination,
        rows: Sequence[Json],
        *,
        skip_invalid: bool,
        ignore_unknown: bool,
        taken: list[Key],
    ) -> list[Json]:
        """Write the valid rows and return `insertErrors`.

        Args:
            session: the transaction.
            target: the table, or one partition of it.
            rows: `{"insertId"?, "json"}` each.
            skip_invalid: write the valid rows of a request that has invalid ones.
            ignore_unknown: drop unknown fields.
            taken: receives the insert ids used, to be taken back if the commit fails.
        """
        meta = tables.live_table(session, target.ref)
        reader = RowReader(meta.schema, ignore_unknown=ignore_unknown)
        good, rejected = read_rows(reader, [row.get("json") or {} for row in rows])
        errors = _insert_errors(rejected)
        if errors and not skip_invalid:
            return _all_stopped(errors, len(rows))
        bad = {index for index, _ in rejected}
        ids = [row.get("insertId") for index, row in enumerate(rows) if index not in bad]
        fresh = []
        for insert_id, row in zip(ids, good, strict=True):
            key = (meta.physical, str(insert_id))
            if insert_id and not self.is_new(key):
                continue
            taken.append(key)
            fresh.append(row)
        if fresh:
            _write(session, meta, fresh, partition=target.partition)
            self._buffered.add(meta.physical)
        return errors


def _write(
    session: Session, meta: TableMeta, rows: list[dict[str, Any]], *, partition: str | None
) -> None:
    names = [quote(field.name) for field in meta.schema.fields]
    values = [staged_sql(of_field(field), quote(field.name)) for field in meta.schema.fields]
    moment = None
    if meta.by_ingestion:
        moment = ingestion_moment(meta, partition)
        names.append(quote(partitions.INGESTION_COLUMN))
        values.append(moment)
    session.cursor.register("incoming", RowReader(meta.schema).table(rows))
    try:
        session.cursor.execute(
            f"INSERT INTO {tables.stored_name(meta)} ({', '.join(names)})"
            f" SELECT {', '.join(values)} FROM incoming"
        )
        touched = session.cursor.execute(
            f"SELECT DISTINCT {partitions.partition_id_sql(meta, moment)} FROM incoming"
        ).fetchall()
    finally:
        session.cursor.unregister("incoming")
    partitions.mark_written(session.cursor, meta, {row[0] for row in touched})


def _insert_errors(rejected: Sequence[tuple[int, RowError]]) -> list[Json]:
    return [
        {"index": index, "errors": [_entry("invalid", fault.location, str(fault))]}
        for index, fault in rejected
    ]


def _entry(reason: str, location: str, message: str) -> Json:
    return {"reason": reason, "location": location, "debugInfo": "", "message": message}


def _all_stopped(errors: list[Json], count: int) -> list[Json]:
    """Reject all rows of a request with one bad row, unless invalid rows are skipped."""
    bad = {error["index"] for error in errors}
    stopped = [
        {"index": index, "errors": [_entry("stopped", "", "")]}
        for index in range(count)
        if index not in bad
    ]
    return sorted([*errors, *stopped], key=lambda error: int(error["index"]))
