"""Keep digests of API keys, and when an entry of the queue that Airflow refused is tried again."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: None = None
depends_on: None = None


def upgrade() -> None:
    """Add the table and the column; both are empty until the service fills them."""
    op.create_table(
        "api_keys",
        sa.Column("key_hash", sa.String(64), primary_key=True),
        sa.Column("key_id", sa.String(64), nullable=False),
        sa.Column("org_slug", sa.String(64), nullable=False),
        sa.Column("scopes", sa.JSON, nullable=False),
        sa.Column("not_after", sa.DateTime(timezone=True)),
    )
    op.create_index("api_keys_of_org", "api_keys", ["org_slug", "key_id"])
    op.add_column("execution_queue", sa.Column("not_before", sa.DateTime(timezone=True)))
