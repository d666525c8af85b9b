"""Rename two tables and two columns after what they hold; every row stays."""

from __future__ import annotations

from alembic import op

revision: str = "0004"
down_revision: str | None = "0003"
branch_labels: None = None
depends_on: None = None


def upgrade() -> None:
    """Rename `org_epochs`, `left_open_runs` and the outbox's `refusal`."""
    op.rename_table("org_epochs", "cache_versions")
    op.rename_table("left_open_runs", "unannounced_runs")
    # Plain ALTER TABLE: SQLite and PostgreSQL both have it, and no table is copied.
    op.execute("ALTER TABLE cache_versions RENAME COLUMN epoch TO version")
    op.execute("ALTER TABLE outbox RENAME COLUMN refusal TO rejection")
