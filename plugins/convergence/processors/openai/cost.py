"""`openai.cost`: what the usage cost at the org's dated prices, computed in the warehouse."""

from __future__ import annotations

from convergence.processors.base import OrgProcessor
from convergence.processors.context import OrgContext, StepResult
from convergence.processors.openai.config import CostConfig


class Cost(OrgProcessor[CostConfig]):
    """Price each day's usage; usage without a price is listed with the reason, never zero."""

    Config = CostConfig
    derived = True

    def run_step(self, org: OrgContext, config: CostConfig) -> StepResult:
        """Answer with rows, table, days, totals by currency, and what has no price.

        Raises:
            RetryableError: the usage of a day is not in the ledger.
        """
        from convergence.processors.lib.pricing.pricing import price_usage

        return price_usage(org, config)
