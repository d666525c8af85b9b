"""The DuckDB file: connections, transactions, and the one write lock.

Reads run side by side, each in a snapshot of its own. Writes are serialized by one lock, so that
DuckDB's optimistic concurrency never has a conflict to report. A commit is on disk (write-ahead
log, synced) before it is acknowledged: a kill loses nothing that was acknowledged.
"""

from __future__ import annotations

import contextlib
import itertools
import queue
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb

from convergence_sandbox.bigquery.database import commits

SETTINGS: dict[str, str | bool | int | float | list[str]] = {
    # Requests run side by side; a statement on this few rows only pays for a second thread.
    "threads": "1",
    "memory_limit": "1GB",
    # Gives freed memory back within seconds: a third less at rest after a large load.
    "allocator_background_threads": "true",
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "python_enable_replacements": "false",
}
_SCHEMA = """
CREATE SCHEMA IF NOT EXISTS meta;
CREATE SCHEMA IF NOT EXISTS data;
CREATE TABLE IF NOT EXISTS meta.entries (
    kind VARCHAR NOT NULL, name VARCHAR NOT NULL, payload VARCHAR, stamp BIGINT NOT NULL);
CREATE TABLE IF NOT EXISTS meta.partitions (
    physical VARCHAR NOT NULL, partition_id VARCHAR NOT NULL, modified TIMESTAMPTZ NOT NULL);
"""


class Storage:
    """One DuckDB database, in a file or in memory.

    Attributes:
        write_lock: locked by the writer, from before its transaction begins until after it ends.

    Args:
        path: the file, its directory made when missing; None keeps everything in memory.
        prepare: called once with the first connection, to register functions.
    """

    def __init__(
        self, path: Path | None, *, prepare: Callable[[duckdb.DuckDBPyConnection], None]
    ) -> None:
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        self._root = duckdb.connect(":memory:" if path is None else str(path), config=SETTINGS)
        self._free: queue.LifoQueue[duckdb.DuckDBPyConnection] = queue.LifoQueue()
        self.write_lock = threading.RLock()
        self._numbers = itertools.count(1)
        prepare(self._root)
        self._root.execute(_SCHEMA + commits.SCHEMA)

    def close(self) -> None:
        """Checkpoint and close; later calls fail."""
        while not self._free.empty():
            self._free.get().close()
        self._root.close()

    def unique(self, prefix: str) -> str:
        """Return a name no one else uses, for temporary tables and new physical tables."""
        return f"{prefix}_{time.time_ns():x}_{next(self._numbers):x}"

    @contextlib.contextmanager
    def transaction(self, cursor: duckdb.DuckDBPyConnection, *, write: bool) -> Iterator[None]:
        """One transaction on `cursor`; committed at the end, rolled back on any exception."""
        with self.write_lock if write else contextlib.nullcontext():
            cursor.execute("BEGIN TRANSACTION")
            try:
                yield
            except BaseException:
                with contextlib.suppress(duckdb.Error):
                    cursor.execute("ROLLBACK")
                raise
            if write:
                commits.record(cursor)
            cursor.execute("COMMIT")

    @contextlib.contextmanager
    def connection(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Borrow a connection from the pool, in UTC."""
        try:
            cursor = self._free.get_nowait()
        except queue.Empty:
            cursor = self._root.cursor()
            cursor.execute("SET TimeZone = 'UTC'")
        try:
            yield cursor
        finally:
            self._free.put(cursor)


def scalar(cursor: duckdb.DuckDBPyConnection, sql: str, *values: Any) -> Any:  # noqa: ANN401
    """Return the first column of the first row, or None when there is no row."""
    rows = cursor.execute(sql, list(values)).fetchall()
    return rows[0][0] if rows else None
