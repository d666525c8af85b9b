"""Migrate a store that an older version made, its data included."""

from __future__ import annotations

import logging
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text
from sqlalchemy.schema import CreateColumn

from convergence.errors import StateStoreVersionError
from convergence.state.migrations.versions import r0001_baseline
from convergence.state.migrations.versions.r0001_baseline import BASELINE

HERE = Path(__file__).parent
VERSIONS = HERE / "versions"
_logger = logging.getLogger(__name__)


def upgrade_store(conn: Connection, *, revision: str | None, target: str) -> None:
    """Run every revision after `revision` up to `target` in the connection's open transaction.

    Args:
        conn: holds the lock under which one process migrates.
        revision: where the store is; None for one made before there were revisions.
        target: the revision that this code works with.

    Raises:
        StateStoreVersionError: the store is newer than the code, or has foreign columns.
    """
    config = alembic_config(conn)
    known = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
    if revision is not None and revision not in known:
        raise StateStoreVersionError(
            "A newer version of Convergence has migrated the state store; start that version, or"
            " restore the store's backup from before its upgrade",
            revision=revision,
            newest_known_revision=target,
        )
    if revision is None:
        adopt_unversioned(conn)
        command.stamp(config, r0001_baseline.revision)
    command.upgrade(config, target)
    _logger.info("migrated the state store from %s to %s", revision or "no revision", target)


def alembic_config(conn: Connection, *, versions: Path | None = None) -> Config:
    """Return Alembic's settings for one connection, without a file of its own."""
    config = Config()
    config.set_main_option("script_location", _escape_percent(HERE))
    config.set_main_option("path_separator", "newline")
    config.set_main_option("version_locations", _escape_percent(versions or VERSIONS))
    config.set_main_option("file_template", "r%%(rev)s_%%(slug)s")
    config.attributes["connection"] = conn
    return config


def _escape_percent(path: Path) -> str:
    # Alembic's settings are a ConfigParser's: a percent sign in a path begins an interpolation.
    return str(path).replace("%", "%%")


def adopt_unversioned(conn: Connection) -> None:
    """Bring a store made before there were revisions to the baseline's tables.

    Those releases widened what an older one had left: tables, columns and indexes may be missing.

    Raises:
        StateStoreVersionError: a table has columns that no release has made.
    """
    inspector = inspect(conn)
    present = set(inspector.get_table_names())
    foreign = [
        f"{table.name}.{column['name']}"
        for table in BASELINE.sorted_tables
        if table.name in present
        for column in inspector.get_columns(table.name)
        if column["name"] not in table.columns
    ]
    if foreign:
        raise StateStoreVersionError(
            "The state store has columns that no release of Convergence made; restore it from a"
            " backup, or start with an empty database and run `make restore-state`",
            columns=foreign,
        )
    BASELINE.create_all(conn)
    _add_missing_columns(conn)


def _add_missing_columns(conn: Connection) -> None:
    inspector = inspect(conn)
    for table in BASELINE.sorted_tables:
        present = {column["name"] for column in inspector.get_columns(table.name)}
        for column in table.columns:
            if column.name not in present:
                clause = CreateColumn(column).compile(dialect=conn.dialect)
                conn.execute(text(f"ALTER TABLE {table.name} ADD COLUMN {clause}"))
        indexed = {index["name"] for index in inspector.get_indexes(table.name)}
        for index in sorted(table.indexes, key=lambda index: str(index.name)):
            if index.name not in indexed:
                index.create(conn)
