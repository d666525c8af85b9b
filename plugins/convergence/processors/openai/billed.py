"""`openai.billed`: the costs that OpenAI bills, day by day, from its costs endpoint."""

from __future__ import annotations

from convergence.processors.base import OrgProcessor
from convergence.processors.context import OrgContext, StepResult
from convergence.processors.openai.config import BilledConfig


class Billed(OrgProcessor[BilledConfig]):
    """Extract costs by UTC day and publish each day as one partition."""

    Config = BilledConfig

    def run_step(self, org: OrgContext, config: BilledConfig) -> StepResult:
        """Return the rows, the table, and how many days were published or unchanged.

        Raises:
            ProviderUnavailableError: OpenAI does not respond; the pages so far are kept.
            ProviderRejectedError: OpenAI rejects the credential or the request.
            ProviderProtocolError: a response breaks the documented shape.
        """
        from convergence.processors.openai.extraction import extract_billed

        return extract_billed(org, config)
