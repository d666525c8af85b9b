"""`openai.cost`: the cost of the usage at the org's dated prices, computed in the warehouse."""

from __future__ import annotations

from convergence.processors.base import OrgProcessor
from convergence.processors.context import OrgContext, StepResult
from convergence.processors.openai.config import CostConfig


class Cost(OrgProcessor[CostConfig]):
    """Price each day's usage; usage without a price has a reason and never a cost of zero."""

    Config = CostConfig
    derived = True

    def run_step(self, org: OrgContext, config: CostConfig) -> StepResult:
        """Return the rows, the table, the days, the totals by currency, and the unpriced usage.

        Raises:
            RetryableError: the ledger has no usage of a day.
        """
        from convergence.processors.lib.pricing.pricing import price_usage

        return price_usage(org, config)
