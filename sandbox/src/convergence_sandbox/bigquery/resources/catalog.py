"""Which datasets, tables and views exist: kept in the database itself, cached as snapshots.

Every change is a row with a rising stamp in the same transaction as the data it describes. A
reader queries the rows above the stamp of the cached snapshot, which is one cheap query, so that
the metadata it compiles against is exactly that of its own transaction.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import duckdb

from convergence_sandbox.bigquery.database.storage import scalar
from convergence_sandbox.bigquery.errors import duplicate, not_found
from convergence_sandbox.bigquery.resources.fields import Json
from convergence_sandbox.bigquery.resources.model import DatasetMeta, TableMeta, TableRef

DatasetKey = tuple[str, str]
# Kind, name, payload (None when it is gone) and stamp.
_Entry = tuple[str, str, str | None, int]


def now_ms() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The catalog as of one stamp. Immutable, shared between threads."""

    stamp: int = 0
    datasets: MappingProxyType[DatasetKey, DatasetMeta] = field(
        default_factory=lambda: MappingProxyType({})
    )
    tables: MappingProxyType[TableRef, TableMeta] = field(
        default_factory=lambda: MappingProxyType({})
    )

    def dataset(self, project: str, dataset: str) -> DatasetMeta:
        """Return the dataset.

        Raises:
            BigQueryError: 404 when it does not exist.
        """
        found = self.datasets.get((project, dataset))
        if found is None:
            raise not_found("Dataset", f"{project}:{dataset}")
        return found

    def find(self, ref: TableRef) -> TableMeta | None:
        """Return the table or view, or None when it does not exist or has expired."""
        found = self.tables.get(ref)
        if found is None or (found.expiration_ms is not None and found.expiration_ms <= now_ms()):
            return None
        return found

    def table(self, ref: TableRef) -> TableMeta:
        """Return the table or view.

        Raises:
            BigQueryError: 404 when it, or its dataset, does not exist.
        """
        self.dataset(ref.project, ref.dataset)
        found = self.find(ref)
        if found is None:
            raise not_found("Table", str(ref))
        return found

    def tables_of(self, project: str, dataset: str) -> list[TableMeta]:
        """Return all live tables and views of a dataset, by name."""
        mine = [ref for ref in self.tables if (ref.project, ref.dataset) == (project, dataset)]
        return [found for ref in sorted(mine) if (found := self.find(ref)) is not None]


class Catalog:
    """Loads the snapshot that belongs to a transaction, reusing the newest one seen."""

    def __init__(self) -> None:
        self._newest = Snapshot()

    def snapshot(self, cursor: duckdb.DuckDBPyConnection) -> Snapshot:
        """Return the catalog as the cursor's transaction sees it."""
        base = self._newest
        newest = scalar(cursor, "SELECT max(stamp) FROM meta.entries") or 0
        if newest == base.stamp:
            return base
        if newest < base.stamp:
            base = Snapshot()
        made = _apply(base, _changes(cursor, since=base.stamp))
        if made.stamp > self._newest.stamp:
            self._newest = made
        return made


def _changes(cursor: duckdb.DuckDBPyConnection, *, since: int) -> list[_Entry]:
    return cursor.execute(
        "SELECT kind, name, payload, stamp FROM meta.entries WHERE stamp > ? ORDER BY stamp",
        [since],
    ).fetchall()


def _apply(base: Snapshot, rows: list[_Entry]) -> Snapshot:
    datasets, tables, stamp = dict(base.datasets), dict(base.tables), base.stamp
    for kind, name, payload, row_stamp in rows:
        stamp = max(stamp, row_stamp)
        if kind == "dataset":
            project, dataset = json.loads(name)
            datasets.pop((project, dataset), None)
            if payload is not None:
                datasets[project, dataset] = _load_dataset(json.loads(payload))
        elif kind == "table":
            ref = TableRef(*json.loads(name))
            tables.pop(ref, None)
            if payload is not None:
                tables[ref] = _load_table(json.loads(payload), ref=ref)
    return Snapshot(stamp, MappingProxyType(datasets), MappingProxyType(tables))


def _load_dataset(payload: Json) -> DatasetMeta:
    made = DatasetMeta.from_rest(payload, project=payload["datasetReference"]["projectId"])
    return replace(
        made, created_ms=int(payload["creationTime"]), modified_ms=int(payload["lastModifiedTime"])
    )


def _load_table(payload: Json, *, ref: TableRef) -> TableMeta:
    physical = payload.pop("physical")
    made = TableMeta.from_rest(payload, ref=ref)
    return replace(
        made,
        created_ms=int(payload["creationTime"]),
        modified_ms=int(payload["lastModifiedTime"]),
        physical=physical,
    )


class Session:
    """One transaction's view: its cursor and its catalog, with what it has itself changed.

    Attributes:
        cursor: the connection, inside its transaction.
        snapshot: the catalog, including this transaction's own changes.
    """

    def __init__(self, cursor: duckdb.DuckDBPyConnection, *, catalog: Catalog) -> None:
        self.cursor = cursor
        self.snapshot = catalog.snapshot(cursor)

    def create_dataset(self, meta: DatasetMeta) -> DatasetMeta:
        """Add a dataset.

        Raises:
            BigQueryError: 409 when it exists.
        """
        if (meta.project, meta.dataset) in self.snapshot.datasets:
            raise duplicate("Dataset", str(meta))
        return self.put_dataset(replace(meta, created_ms=now_ms()))

    def put_dataset(self, meta: DatasetMeta) -> DatasetMeta:
        """Write the dataset's new state."""
        meta = meta.touched(now_ms())
        self._write("dataset", [meta.project, meta.dataset], meta.to_rest())
        return meta

    def drop_dataset(self, meta: DatasetMeta) -> None:
        """Forget the dataset; its tables are the caller's to drop."""
        self._write("dataset", [meta.project, meta.dataset], None)

    def put_table(self, meta: TableMeta) -> TableMeta:
        """Write the table's new state."""
        meta = meta.touched(now_ms())
        ref = meta.ref
        payload = meta.to_rest() | {"physical": meta.physical}
        self._write("table", [ref.project, ref.dataset, ref.table], payload)
        return meta

    def forget_table(self, ref: TableRef) -> None:
        """Forget the table; its rows are the caller's to drop."""
        self._write("table", [ref.project, ref.dataset, ref.table], None)

    def _write(self, kind: str, key: list[str], payload: Json | None) -> None:
        stamp = self.snapshot.stamp + 1
        name, body = json.dumps(key), None if payload is None else json.dumps(payload)
        self.cursor.execute("DELETE FROM meta.entries WHERE kind = ? AND name = ?", [kind, name])
        self.cursor.execute(
            "INSERT INTO meta.entries VALUES (?, ?, ?, ?)", [kind, name, body, stamp]
        )
        self.snapshot = _apply(self.snapshot, [(kind, name, body, stamp)])
