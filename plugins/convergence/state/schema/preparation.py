"""Bring the store's database to the tables that this code works with.

A store at this code's revision costs one SELECT and never imports Alembic: every task process
opens the store. An empty database gets today's tables at once; any other is migrated. See
`convergence.state.migrations` for the revisions and how to add one.
"""

from __future__ import annotations

import time

from sqlalchemy import Column, Connection, Engine, MetaData, String, Table, inspect, select, text
from sqlalchemy.exc import DBAPIError, OperationalError

from convergence.errors import StateStoreVersionError
from convergence.state.schema.tables import metadata

HEAD_REVISION = "0004"  # a test compares it with the newest file in migrations/versions
VERSION_TABLE = "convergence_schema_version"  # Airflow's own `alembic_version` may share a schema
MIGRATION_LOCK_SECONDS = 300

schema_version = Table(
    VERSION_TABLE, MetaData(), Column("version_num", String(32), primary_key=True)
)
_UNVERSIONED_MARK = "state_meta"  # a table of every store made before there were revisions
_WAL_SECONDS = 30.0
_ADVISORY_LOCK = 0x436F6E76  # any constant, the same in every process
_UNDEFINED_TABLE = "42P01"


def prepare_tables(engine: Engine, *, writer: Engine) -> None:
    """Create or migrate the tables in one transaction, unless they are current.

    Any number of processes may call this at once: one migrates, the others wait for it. A
    process that dies in between leaves the database as it was.

    Args:
        engine: for transactions that only read.
        writer: for transactions that take the write lock with their first statement.

    Raises:
        StateStoreVersionError: the database belongs to a newer version, or to something else.
    """
    if engine.dialect.name == "sqlite":
        _use_wal(engine)
    if _is_current(engine):
        return
    with writer.begin() as conn:
        _lock_migration(conn)
        revision = recorded_revision(conn)
        if revision == HEAD_REVISION:
            return
        if revision is None and not inspect(conn).has_table(_UNVERSIONED_MARK):
            _create_tables(conn)
            return
        # The import costs 0.1 CPU-s and is needed once in the life of a version.
        from convergence.state.migrations.upgrade import upgrade_store

        upgrade_store(conn, revision=revision, target=HEAD_REVISION)


def recorded_revision(conn: Connection) -> str | None:
    """Return the revision of the store's tables; None before there were revisions."""
    if not inspect(conn).has_table(VERSION_TABLE):
        return None
    return conn.execute(select(schema_version.c.version_num)).scalar_one_or_none()


def _is_current(engine: Engine) -> bool:
    try:
        with engine.begin() as conn:
            query = select(schema_version.c.version_num)
            return conn.execute(query).scalar_one_or_none() == HEAD_REVISION
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) == _UNDEFINED_TABLE:
            return False
        if "no such table" in str(error.orig):
            return False
        raise


def _lock_migration(conn: Connection) -> None:
    # SQLite's writers already hold the only write lock; a PostgreSQL lock ends with its session.
    if conn.dialect.name == "postgresql":
        conn.execute(text(f"SET LOCAL lock_timeout = '{MIGRATION_LOCK_SECONDS}s'"))
        conn.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _ADVISORY_LOCK})


def _create_tables(conn: Connection) -> None:
    taken = sorted(set(metadata.tables) & set(inspect(conn).get_table_names()))
    if taken:
        raise StateStoreVersionError(
            "The state store's database has tables of the same names that Convergence did not"
            " create; give the store a database or a schema of its own",
            tables=taken,
        )
    metadata.create_all(conn, checkfirst=False)
    schema_version.create(conn)
    conn.execute(schema_version.insert().values(version_num=HEAD_REVISION))


def _use_wal(engine: Engine) -> None:
    """Switch the file to WAL; SQLite refuses at once, timeout or not, while others switch."""
    deadline = time.monotonic() + _WAL_SECONDS
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
