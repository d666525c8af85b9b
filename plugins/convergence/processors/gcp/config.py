"""Configuration of the Google Cloud steps."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from convergence.processors.lib.daily.guarded_config import GuardedConfig
from convergence.processors.lib.field_types import SchemaFile, SqlFile, TableId
from convergence.processors.step_config import StepConfig

GIB = 1024**3
TemplateName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
"""One of the tables in a file of schema templates."""
GoogleUrl = Annotated[
    str, Field(pattern=r"^https://[a-z0-9-]+(\.[a-z0-9-]+)*\.googleapis\.com(/[A-Za-z0-9_.:-]+)+$")
]
"""A list of one of Google's REST APIs; a Google token is sent only to Google."""
Scope = Annotated[str, Field(pattern=r"^https://www\.googleapis\.com/auth/[a-z0-9._-]+$")]
"""An OAuth2 scope, such as https://www.googleapis.com/auth/cloud-billing.readonly."""
DataPath = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*(\.[A-Za-z][A-Za-z0-9_]*)*$")]
"""Dotted keys of the list in an answer."""


class BqEtlConfig(GuardedConfig):
    """Copies a customer's billing export day by day, read with the customer's service account."""

    ps_type: ClassVar[str] = "gcp.bq_etl"

    table: TableId = "gcp_billing_daily_raw"
    """Table of the org's dataset that takes the rows."""

    schema_file: SchemaFile = "gcp/bq_etl/schema_template.json"
    """Schema templates."""

    schema_template: TemplateName = "default"
    """Which of them the table has; a column of the export that it has not goes to `extra`."""

    touched_file: SqlFile = "gcp/bq_etl/sql/touched_days.sql"
    """Reads, in the customer's project, which usage days have rows exported since a moment."""

    rows_file: SqlFile = "gcp/bq_etl/sql/rows_of_days.sql"
    """Reads, in the customer's project, whole usage days."""

    published_file: SqlFile = "gcp/bq_etl/sql/published_days.sql"
    """Reads, in ours, what is published of the rows exported since that moment."""

    copied_batches_file: SqlFile = "gcp/bq_etl/sql/copied_batches.sql"
    """Reads what the copy holds of days, by account, export and time of export."""

    copied_days_file: SqlFile = "gcp/bq_etl/sql/copied_days.sql"
    """Reads which days the copy has from exports that are no longer preferred."""

    copied_rows_file: SqlFile = "gcp/bq_etl/sql/copied_rows.sql"
    """Reads rows of the copy that stay."""

    exported_batches_file: SqlFile = "gcp/bq_etl/sql/exported_batches.sql"
    """Reads, in the customer's project, what an export holds of days that the copy has."""

    max_bytes_billed: int = Field(default=50 * GIB, ge=10 * 1024**2, le=10_000 * GIB)
    """Maximum bytes that one query may read and bill to the customer's project; a query that
    would read more is not run."""

    overlap_days: int = Field(default=3, ge=0, le=60)
    """Number of days before the oldest due day whose rows count as new: rows may be visible later
    than their export time."""

    days_per_query: int = Field(default=31, ge=1, le=366)
    """Maximum number of usage days per query."""

    def daily_tables(self) -> tuple[str, ...]:
        """Return the table of the copy."""
        return (self.table,)


class BillingCostConfig(StepConfig):
    """Sums a billing export by day, project and SKU: net cost is cost plus credits."""

    ps_type: ClassVar[str] = "gcp.billing_cost"

    raw_table: TableId = "gcp_billing_daily_raw"
    """Table of the export's rows."""

    table: TableId = "billing_cost_daily"
    """Table of the org's dataset that takes the cost."""

    schema_file: SchemaFile = "gcp/bq_etl/schema_template.json"
    """Schema templates."""

    schema_template: TemplateName = "billing_cost"
    """Which of them the table has."""

    sql_file: SqlFile = "gcp/cost/sql/billing_cost.sql"
    """Sums one day."""

    totals_file: SqlFile = "gcp/cost/sql/net_totals.sql"
    """Reads one published day's net cost by currency."""

    source_view: SqlFile | None = None
    """The table's part of cost_daily."""

    def daily_tables(self) -> tuple[str, ...]:
        """Return the cost table."""
        return (self.table,)


class ApiExtractorConfig(StepConfig):
    """Takes a daily snapshot of any list of Google's REST APIs, with the org's service account."""

    ps_type: ClassVar[str] = "gcp.api_extractor"

    url: GoogleUrl
    """The list, such as https://cloudbilling.googleapis.com/v1/billingAccounts."""

    data_path: DataPath
    """Field of the rows in a response, such as billingAccounts; a response without it is empty."""

    scopes: tuple[Scope, ...] = Field(min_length=1)
    """Scopes of the token."""

    params: dict[str, str] = Field(default_factory=dict)
    """Sent with every page, in addition to the page's token."""

    table: TableId
    """Table of the org's dataset that takes the snapshots."""

    schema_file: SchemaFile
    """That table's schema: fields in snake case; one without a column goes to `extra`."""

    requests_per_minute: int = Field(default=60, ge=1, le=6000)
    """Most requests to the API for one org."""

    def daily_tables(self) -> tuple[str, ...]:
        """Return the table."""
        return (self.table,)
