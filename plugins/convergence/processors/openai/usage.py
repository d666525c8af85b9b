"""`openai.usage`: the organization's usage, day by day, every documented field."""

from __future__ import annotations

from convergence.processors.base import OrgProcessor
from convergence.processors.context import OrgContext, StepResult
from convergence.processors.openai.config import UsageConfig


class Usage(OrgProcessor[UsageConfig]):
    """Extract usage by UTC day and publish each day as one partition."""

    Config = UsageConfig

    def run_step(self, org: OrgContext, config: UsageConfig) -> StepResult:
        """Answer with rows, table, and how many days were published or found unchanged.

        Raises:
            ProviderUnavailableError: OpenAI does not answer; pages so far are kept.
            ProviderRejectedError: OpenAI refuses the credential or the request.
            ProviderProtocolError: an answer breaks the documented shape.
        """
        from convergence.processors.openai.extraction import extract_usage

        return extract_usage(org, config)
