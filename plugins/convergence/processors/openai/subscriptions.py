"""`openai.subscriptions`: the monthly cost of the org's ChatGPT plans, prorated by the day."""

from __future__ import annotations

from convergence.processors.base import OrgProcessor
from convergence.processors.context import OrgContext, StepResult
from convergence.processors.openai.config import SubscriptionsConfig


class Subscriptions(OrgProcessor[SubscriptionsConfig]):
    """Publish the cost of the seats that the org maintains, one month as one partition."""

    Config = SubscriptionsConfig
    derived = True

    def run_step(self, org: OrgContext, config: SubscriptionsConfig) -> StepResult:
        """Return the rows, the table, the months, and their sums by currency."""
        from convergence.processors.openai.seat_months import publish_months

        return publish_months(org, config)
