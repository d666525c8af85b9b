"""Alembic runs this file for every command; the connection comes from the caller."""

from __future__ import annotations

from alembic import context

from convergence.state.schema.preparation import VERSION_TABLE
from convergence.state.schema.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    render_as_batch=True,
    transactional_ddl=True,  # SQLite's DDL is transactional too once BEGIN is our own
)
with context.begin_transaction():
    context.run_migrations()
