"""The transactional store of data that must be atomic and fast, and that may be lost.

SQLite in WAL mode on one machine, PostgreSQL on several. API processes and workers use it through
SQLAlchemy.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from weakref import WeakSet

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import ConnectionPoolEntry

from convergence.errors import StateUnavailableError
from convergence.state.schema.preparation import prepare_tables

BUSY_TIMEOUT_SECONDS = 30
CONNECT_TIMEOUT_SECONDS = 10
_WRITES = "convergence_writes"
_engines: WeakSet[Engine] = WeakSet()


class StateStore:
    """A pool of connections to the store; threads may share one, and a fork may inherit it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._writer = engine.execution_options(**{_WRITES: True})

    @classmethod
    def connect(cls, url: str) -> StateStore:
        """Open the store at a SQLAlchemy URL, creating or migrating its tables first.

        Any number of processes may do so at once.

        Raises:
            StateUnavailableError: the database does not respond.
            StateStoreVersionError: a newer version of Convergence has migrated the database.
        """
        engine = _create_engine(make_url(url))
        store = cls(engine)
        try:
            with _translate_errors():
                prepare_tables(store._engine, writer=store._writer)
        except BaseException:
            engine.dispose()
            raise
        return store

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """Open a write transaction: committed at the end, rolled back on any exception.

        On SQLite it holds the only write lock from its first statement, so keep it short and
        call nothing remote inside.
        """
        with _translate_errors(), self._writer.begin() as conn:
            yield conn

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a read-only transaction; on SQLite it never waits for a writer."""
        with _translate_errors(), self._engine.begin() as conn:
            yield conn

    def close(self) -> None:
        """Close every pooled connection."""
        self._engine.dispose()


@contextmanager
def _translate_errors() -> Iterator[None]:
    try:
        yield
    except (OperationalError, PoolTimeoutError) as error:
        cause = error.orig if isinstance(error, OperationalError) else error
        reason = (str(cause).strip().splitlines() or [type(cause).__name__])[0]
        raise StateUnavailableError("The state store does not respond", reason=reason) from error


def _create_engine(url: URL) -> Engine:
    if url.get_backend_name() == "sqlite":
        return _create_sqlite_engine(url)
    if url.drivername in {"postgresql", "postgres"}:
        url = url.set(drivername="postgresql+psycopg")
    engine = create_engine(
        url,
        connect_args={"connect_timeout": CONNECT_TIMEOUT_SECONDS},
        pool_pre_ping=True,
        hide_parameters=True,
    )
    event.listen(engine, "connect", _configure_postgresql)
    _engines.add(engine)
    return engine


def _create_sqlite_engine(url: URL) -> Engine:
    if url.database and url.database != ":memory:":
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(
        url, connect_args={"timeout": BUSY_TIMEOUT_SECONDS}, hide_parameters=True
    )
    event.listen(engine, "connect", _configure_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    _engines.add(engine)
    return engine


def _configure_sqlite(dbapi_connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
    # The driver's own BEGIN is deferred: two readers that both turn writer would deadlock.
    dbapi_connection.isolation_level = None
    cursor = dbapi_connection.cursor()
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.close()


def _configure_postgresql(dbapi_connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
    # A process that freezes inside a transaction must not hold an org's lock for ever.
    cursor = dbapi_connection.cursor()
    cursor.execute(f"SET lock_timeout = '{BUSY_TIMEOUT_SECONDS}s'")
    cursor.execute(f"SET idle_in_transaction_session_timeout = '{BUSY_TIMEOUT_SECONDS}s'")
    cursor.close()
    dbapi_connection.commit()


def _begin_sqlite(conn: Connection) -> None:
    writes = conn.get_execution_options().get(_WRITES, False)
    conn.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _forget_inherited() -> None:
    # A connection that crossed a fork belongs to the parent: drop it here without closing it.
    for engine in list(_engines):
        engine.dispose(close=False)


os.register_at_fork(after_in_child=_forget_inherited)
