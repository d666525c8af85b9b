"""The state store's tables, the same on SQLite and PostgreSQL.

Times are aware and in UTC. No table is a customer's only record: a store that is lost loses slots,
attempt numbers and keys of retried requests, all of which are rebuilt or expire.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Connection,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.dml import ReturningInsert

from convergence.state.queueing import queued_run
from convergence.state.schema.column_types import Serial, UtcDateTime

metadata = MetaData()

state_meta = Table(
    "state_meta",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("value", Text, nullable=False),
)

slice_attempts = Table(
    "slice_attempts",
    metadata,
    Column("slice_id", String(400), primary_key=True),
    Column("attempt", BigInteger, nullable=False),
    Column("taken_at", UtcDateTime),
    Column("holder", String(32)),
    Column("run_id", String(64)),
    Column("heartbeat_at", UtcDateTime),
    Index("slice_attempts_taken", "taken_at"),
    Index("slice_attempts_holder", "holder"),
)

org_runs = Table(
    "org_runs",
    metadata,
    Column("run_id", String(64), primary_key=True),
    Column("org_slug", String(64), nullable=False),
    Column("pipeline_id", String(200), nullable=False),
    Column("dag_id", String(250), nullable=False),
    Column("dag_run_id", String(250), nullable=False),
    Column("trigger", String(16), nullable=False),
    Column("status", String(16), nullable=False),
    Column("days", JSON, nullable=False),
    Column("params", JSON, nullable=False),
    Column("request_id", String(128)),
    Column("requested_by", String(128), nullable=False),
    Column("debited", Boolean, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("started_at", UtcDateTime),
    Column("ended_at", UtcDateTime),
    Column("error_code", String(64)),
    Column("error_message", Text),
    Index("org_runs_of_org", "org_slug", "created_at", "run_id"),
    Index("org_runs_of_dag_run", "dag_id", "dag_run_id"),
    Index("org_runs_live", "status", "created_at"),
    Index("org_runs_ended", "ended_at"),
)

org_steps = Table(
    "org_steps",
    metadata,
    Column("run_id", String(64), primary_key=True),
    Column("step", String(128), primary_key=True),
    Column("org_slug", String(64), nullable=False),
    Column("processor", String(128), nullable=False),
    Column("status", String(16), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("ended_at", UtcDateTime),
    Column("rows_processed", BigInteger),
    Column("destination_table", String(400)),
    Column("error_code", String(64)),
    Column("error_message", Text),
    Column("result", JSON),
    Column("used", JSON),
    Column("max_tries", Integer),
    Column("began_at", UtcDateTime),
    Column("cleared", Boolean),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("org_slug", String(64), primary_key=True),
    Column("key", String(255), primary_key=True),
    Column("request_hash", String(64), nullable=False),
    Column("token", String(32), nullable=False),
    Column("claimed_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Column("status", Integer),
    Column("body", JSON(none_as_null=True)),
    Index("idempotency_keys_expiry", "expires_at"),
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", Serial, primary_key=True, autoincrement=True),
    Column("row_id", String(32), nullable=False, unique=True),
    Column("table_name", String(128), nullable=False),
    Column("row", Text, nullable=False),
    Column("enqueued_at", UtcDateTime, nullable=False),
    Column("rejection", Text),
    Index("outbox_of_table", "table_name", "id"),
    sqlite_autoincrement=True,
)

outbox_leases = Table(
    "outbox_leases",
    metadata,
    Column("table_name", String(128), primary_key=True),
    Column("owner", String(32)),
    Column("expires_at", UtcDateTime, nullable=False),
)

cache_versions = Table(
    "cache_versions",
    metadata,
    Column("org_slug", String(64), primary_key=True),
    Column("version", BigInteger, nullable=False),
)

audit_heads = Table(
    "audit_heads",
    metadata,
    Column("org_slug", String(64), primary_key=True),
    Column("sequence", BigInteger, nullable=False),
    Column("entry_hash", String(64), nullable=False),
)

leases = Table(
    "leases",
    metadata,
    Column("name", String(200), primary_key=True),
    Column("owner", String(32), nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
)


pipeline_configs = Table(
    "pipeline_configs",
    metadata,
    Column("org_slug", String(64), primary_key=True),
    Column("pipeline_id", String(200), primary_key=True),
    Column("dag_id", String(250), nullable=False),
    Column("provider", String(64)),
    Column("enabled", Boolean, nullable=False),
    Column("schedule", String(100)),
    Column("timezone", String(64)),
    Column("params", JSON, nullable=False),
    Column("next_due_at", UtcDateTime),
    Column("updated_at", UtcDateTime, nullable=False),
    Column("updated_by", String(128), nullable=False),
    Index("pipeline_configs_due", "next_due_at"),
)

execution_queue = Table(
    "execution_queue",
    metadata,
    *queued_run.build_columns(),
    Index("execution_queue_of_org", "org_slug", "enqueued_at"),
    Index("execution_queue_waiting", "status", "enqueued_at"),
    Index("execution_queue_ended", "ended_at"),
)

notifications = Table(
    "notifications",
    metadata,
    Column("run_id", String(64), primary_key=True),
    Column("org_slug", String(64), primary_key=True),
    Column("channel", String(64), primary_key=True),
    Column("event", String(128), primary_key=True),
    Column("status", String(16), nullable=False),
    Column("owner", String(32), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("recipients", Integer, nullable=False),
    Column("claimed_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Column("ended_at", UtcDateTime),
    Column("error", Text),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("key_hash", String(64), primary_key=True),
    Column("key_id", String(64), nullable=False),
    Column("org_slug", String(64), nullable=False),
    Column("scopes", JSON, nullable=False),
    Column("not_after", UtcDateTime),
    Index("api_keys_of_org", "org_slug", "key_id"),
)

unannounced_runs = Table(
    "unannounced_runs",
    metadata,
    Column("dag_id", String(250), primary_key=True),
    Column("dag_run_id", String(250), primary_key=True),
    Column("noted_at", UtcDateTime, nullable=False),
)


def build_upsert(conn: Connection, table: Table) -> sqlite.Insert | postgresql.Insert:
    """Return an INSERT of the connection's dialect, for its `on_conflict_…` clauses."""
    return _start_insert(table, conn.dialect.name)


def insert_if_absent(conn: Connection, table: Table, values: dict[str, Any]) -> bool:
    """Insert a row unless its key exists; return whether it was inserted.

    RETURNING shows it, because not every driver counts inserted rows.
    """
    return conn.execute(_build_insert(table, conn.dialect.name), values).one_or_none() is not None


@cache
def _build_insert(table: Table, dialect: str) -> ReturningInsert[Any]:
    # Cached, because SQLAlchemy analyses a statement again for each new object.
    return _start_insert(table, dialect).on_conflict_do_nothing().returning(*table.primary_key)


def _start_insert(table: Table, dialect: str) -> sqlite.Insert | postgresql.Insert:
    return sqlite.insert(table) if dialect == "sqlite" else postgresql.insert(table)
