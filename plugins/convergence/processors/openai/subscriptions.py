"""`openai.subscriptions`: what the org's ChatGPT plans cost by the month, prorated by the day."""

from __future__ import annotations

from convergence.processors.base import OrgProcessor
from convergence.processors.context import OrgContext, StepResult
from convergence.processors.openai.config import SubscriptionsConfig


class Subscriptions(OrgProcessor[SubscriptionsConfig]):
    """Snapshot the seats that the org maintains, a month as one partition."""

    Config = SubscriptionsConfig
    derived = True

    def run_step(self, org: OrgContext, config: SubscriptionsConfig) -> StepResult:
        """Answer with rows, table, months, and their sums by currency."""
        from convergence.processors.openai.seat_months import snapshot_months

        return snapshot_months(org, config)
