"""Let attempts at slices have a heartbeat, and steps know whether a person cleared their task."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Boolean, Column, DateTime, Integer, String

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: None = None
depends_on: None = None

INSTANT = DateTime(timezone=True)


def upgrade() -> None:
    """Add nullable columns: rows of earlier releases stay as they are."""
    op.add_column("slice_attempts", Column("holder", String(32)))
    op.add_column("slice_attempts", Column("run_id", String(64)))
    op.add_column("slice_attempts", Column("heartbeat_at", INSTANT))
    op.create_index("slice_attempts_holder", "slice_attempts", ["holder"])
    op.add_column("org_steps", Column("max_tries", Integer))
    op.add_column("org_steps", Column("began_at", INSTANT))
    op.add_column("org_steps", Column("cleared", Boolean))
