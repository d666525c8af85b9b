"""Create the store's tables, and widen those that an older release left behind."""

from __future__ import annotations

import hashlib
import time

from sqlalchemy import Connection, Engine, inspect, select, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.schema import CreateColumn

from convergence.state.tables import metadata, state_meta, upsert

_PATIENCE_SECONDS = 30.0
_ADVISORY_LOCK = 0x436F6E76  # any constant, the same in every process
_META_NAME = "schema"


def prepare(engine: Engine) -> None:
    """Bring the database to the present tables; a no-op when it already is there."""
    if engine.dialect.name == "sqlite":
        _use_wal(engine)
    with engine.begin() as conn:
        if engine.dialect.name == "postgresql":
            conn.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _ADVISORY_LOCK})
        if _recorded(conn) == fingerprint():
            return
        metadata.create_all(conn)
        _widen(conn)
        statement = upsert(conn, state_meta).values(name=_META_NAME, value=fingerprint())
        conn.execute(
            statement.on_conflict_do_update(
                index_elements=["name"], set_={"value": statement.excluded.value}
            )
        )


def fingerprint() -> str:
    """A digest of every table, column and index, so that a change is never forgotten."""
    names = [
        f"{table.name}.{part.name}"
        for table in metadata.sorted_tables
        for part in (*table.columns, *sorted(table.indexes, key=lambda index: str(index.name)))
    ]
    return hashlib.sha256("\n".join(names).encode()).hexdigest()


def _use_wal(engine: Engine) -> None:
    """Switch the file to WAL; SQLite refuses at once, timeout or not, while others switch."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            connection = engine.raw_connection()
            try:
                connection.cursor().execute("PRAGMA journal_mode=WAL")
            finally:
                connection.close()
        except Exception as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise OperationalError("PRAGMA journal_mode=WAL", None, error) from error
            time.sleep(0.02)
        else:
            return


def _recorded(conn: Connection) -> str | None:
    if not inspect(conn).has_table(state_meta.name):
        return None
    query = select(state_meta.c.value).where(state_meta.c.name == _META_NAME)
    return conn.execute(query).scalar_one_or_none()


def _widen(conn: Connection) -> None:
    inspector = inspect(conn)
    for table in metadata.sorted_tables:
        present = {column["name"] for column in inspector.get_columns(table.name)}
        for column in table.columns:
            if column.name not in present:
                clause = CreateColumn(column).compile(dialect=conn.dialect)
                conn.execute(text(f"ALTER TABLE {table.name} ADD COLUMN {clause}"))
        indexed = {index["name"] for index in inspector.get_indexes(table.name)}
        for index in sorted(table.indexes, key=lambda index: str(index.name)):
            if index.name not in indexed:
                index.create(conn)
