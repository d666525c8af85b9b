"""`gcp.bq_etl`: the customer's billing export, every usage day that changed rebuilt whole."""

from __future__ import annotations

from convergence.processors.base import OrgProcessor
from convergence.processors.context import OrgContext, StepResult
from convergence.processors.gcp.config import BqEtlConfig


class BqEtl(OrgProcessor[BqEtlConfig]):
    """Read the export with the customer's account; publish each touched day as one partition."""

    Config = BqEtlConfig

    def run_step(self, org: OrgContext, config: BqEtlConfig) -> StepResult:
        """Copy the export; return rows, table and the counts of published and unchanged days.

        Raises:
            IntegrationInvalidError: the account is refused, or has no billing export.
            ProviderProtocolError: the export's columns have changed their types.
            WarehouseError: a query would read more than its cap, or BigQuery refuses it.
            WarehouseUnavailableError, ProviderUnavailableError: Google does not answer.
        """
        from convergence.processors.gcp.billing_export import copy_export

        return copy_export(org, config)
