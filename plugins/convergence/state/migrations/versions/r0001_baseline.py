"""Create the tables of the first release with revisions; frozen: it does not follow `tables.py`.

Releases before it kept no revision. Their stores are brought to this revision by `adopt`.
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
)

revision: str = "0001"
down_revision: str | None = None
branch_labels: None = None
depends_on: None = None

BASELINE = MetaData()
INSTANT = DateTime(timezone=True)
SERIAL = BigInteger().with_variant(Integer, "sqlite")


def upgrade() -> None:
    """Create every table and index."""
    BASELINE.create_all(op.get_bind(), checkfirst=False)


Table(
    "state_meta",
    BASELINE,
    Column("name", String(64), primary_key=True),
    Column("value", Text, nullable=False),
)

Table(
    "slice_attempts",
    BASELINE,
    Column("slice_id", String(400), primary_key=True),
    Column("attempt", BigInteger, nullable=False),
    Column("taken_at", INSTANT),
    Index("slice_attempts_taken", "taken_at"),
)

Table(
    "org_runs",
    BASELINE,
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
    Column("created_at", INSTANT, nullable=False),
    Column("started_at", INSTANT),
    Column("ended_at", INSTANT),
    Column("error_code", String(64)),
    Column("error_message", Text),
    Index("org_runs_of_org", "org_slug", "created_at", "run_id"),
    Index("org_runs_of_dag_run", "dag_id", "dag_run_id"),
    Index("org_runs_live", "status", "created_at"),
    Index("org_runs_ended", "ended_at"),
)

Table(
    "org_steps",
    BASELINE,
    Column("run_id", String(64), primary_key=True),
    Column("step", String(128), primary_key=True),
    Column("org_slug", String(64), nullable=False),
    Column("processor", String(128), nullable=False),
    Column("status", String(16), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("started_at", INSTANT, nullable=False),
    Column("ended_at", INSTANT),
    Column("rows_processed", BigInteger),
    Column("destination_table", String(400)),
    Column("error_code", String(64)),
    Column("error_message", Text),
    Column("result", JSON),
    Column("used", JSON),
)

Table(
    "idempotency_keys",
    BASELINE,
    Column("org_slug", String(64), primary_key=True),
    Column("key", String(255), primary_key=True),
    Column("request_hash", String(64), nullable=False),
    Column("token", String(32), nullable=False),
    Column("claimed_at", INSTANT, nullable=False),
    Column("expires_at", INSTANT, nullable=False),
    Column("status", Integer),
    Column("body", JSON),
    Index("idempotency_keys_expiry", "expires_at"),
)

Table(
    "outbox",
    BASELINE,
    Column("id", SERIAL, primary_key=True, autoincrement=True),
    Column("row_id", String(32), nullable=False, unique=True),
    Column("table_name", String(128), nullable=False),
    Column("row", Text, nullable=False),
    Column("enqueued_at", INSTANT, nullable=False),
    Column("refusal", Text),
    Index("outbox_of_table", "table_name", "id"),
    sqlite_autoincrement=True,
)

Table(
    "outbox_leases",
    BASELINE,
    Column("table_name", String(128), primary_key=True),
    Column("owner", String(32)),
    Column("expires_at", INSTANT, nullable=False),
)

Table(
    "org_epochs",
    BASELINE,
    Column("org_slug", String(64), primary_key=True),
    Column("epoch", BigInteger, nullable=False),
)

Table(
    "audit_heads",
    BASELINE,
    Column("org_slug", String(64), primary_key=True),
    Column("sequence", BigInteger, nullable=False),
    Column("entry_hash", String(64), nullable=False),
)

Table(
    "leases",
    BASELINE,
    Column("name", String(200), primary_key=True),
    Column("owner", String(32), nullable=False),
    Column("expires_at", INSTANT, nullable=False),
)

Table(
    "pipeline_configs",
    BASELINE,
    Column("org_slug", String(64), primary_key=True),
    Column("pipeline_id", String(200), primary_key=True),
    Column("dag_id", String(250), nullable=False),
    Column("provider", String(64)),
    Column("enabled", Boolean, nullable=False),
    Column("schedule", String(100)),
    Column("timezone", String(64)),
    Column("params", JSON, nullable=False),
    Column("next_due_at", INSTANT),
    Column("updated_at", INSTANT, nullable=False),
    Column("updated_by", String(128), nullable=False),
    Index("pipeline_configs_due", "next_due_at"),
)

Table(
    "execution_queue",
    BASELINE,
    Column("queue_id", String(64), primary_key=True),
    Column("org_slug", String(64), nullable=False),
    Column("pipeline_id", String(200), nullable=False),
    Column("dag_id", String(250), nullable=False),
    Column("provider", String(64)),
    Column("days", JSON, nullable=False),
    Column("params", JSON, nullable=False),
    Column("trigger", String(16), nullable=False),
    Column("priority", Integer, nullable=False),
    Column("requested_by", String(128), nullable=False),
    Column("request_id", String(128)),
    Column("status", String(16), nullable=False),
    Column("reason", Text),
    Column("run_id", String(64)),
    Column("debited", Boolean),
    Column("follows", String(64)),
    Column("schedule", String(100)),
    Column("due_at", INSTANT),
    Column("enqueued_at", INSTANT, nullable=False),
    Column("ended_at", INSTANT),
    Index("execution_queue_of_org", "org_slug", "enqueued_at"),
    Index("execution_queue_waiting", "status", "enqueued_at"),
    Index("execution_queue_ended", "ended_at"),
)

Table(
    "notifications",
    BASELINE,
    Column("run_id", String(64), primary_key=True),
    Column("org_slug", String(64), primary_key=True),
    Column("channel", String(64), primary_key=True),
    Column("event", String(128), primary_key=True),
    Column("status", String(16), nullable=False),
    Column("owner", String(32), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("recipients", Integer, nullable=False),
    Column("claimed_at", INSTANT, nullable=False),
    Column("expires_at", INSTANT, nullable=False),
    Column("ended_at", INSTANT),
    Column("error", Text),
)

Table(
    "left_open_runs",
    BASELINE,
    Column("dag_id", String(250), primary_key=True),
    Column("dag_run_id", String(250), primary_key=True),
    Column("noted_at", INSTANT, nullable=False),
)
