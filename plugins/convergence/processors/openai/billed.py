"""`openai.billed`: what OpenAI says it bills, day by day, from its costs endpoint."""

from __future__ import annotations

from convergence.processors.base import OrgProcessor
from convergence.processors.context import OrgContext, StepResult
from convergence.processors.openai.config import BilledConfig


class Billed(OrgProcessor[BilledConfig]):
    """Extract costs by UTC day and publish each day as one partition."""

    Config = BilledConfig

    def run_step(self, org: OrgContext, config: BilledConfig) -> StepResult:
        """Answer with rows, table, and how many days were published or found unchanged.

        Raises:
            ProviderUnavailableError: OpenAI does not answer; pages so far are kept.
            ProviderRejectedError: OpenAI refuses the credential or the request.
            ProviderProtocolError: an answer breaks the documented shape.
        """
        from convergence.processors.openai.extraction import extract_billed

        return extract_billed(org, config)
