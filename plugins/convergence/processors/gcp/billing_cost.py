"""`gcp.billing_cost`: net cost by usage day, from the copy of the billing export."""

from __future__ import annotations

from convergence.processors.base import OrgProcessor
from convergence.processors.context import OrgContext, StepResult
from convergence.processors.gcp.config import BillingCostConfig


class BillingCost(OrgProcessor[BillingCostConfig]):
    """Sum every day whose rows changed, however long ago it was."""

    Config = BillingCostConfig
    derived = True

    def run_step(self, org: OrgContext, config: BillingCostConfig) -> StepResult:
        """Compute the cost; return rows, table, days and their net cost by currency.

        Raises:
            RetryableError: the rows of a day that is due are not in the ledger.
            WarehouseError, WarehouseUnavailableError: as our BigQuery says.
        """
        from convergence.processors.gcp.cost_days import sum_costs

        return sum_costs(org, config)
