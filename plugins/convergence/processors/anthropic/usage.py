"""`anthropic.usage`: the organization's usage, day by day."""

from __future__ import annotations

from convergence.processors.anthropic.config import UsageConfig
from convergence.processors.base import OrgProcessor
from convergence.processors.context import OrgContext, StepResult


class Usage(OrgProcessor[UsageConfig]):
    """Extract usage by UTC day and publish each day as one partition."""

    Config = UsageConfig

    def run_step(self, org: OrgContext, config: UsageConfig) -> StepResult:
        """Return the rows, the table, and how many days were published or unchanged.

        Raises:
            ProviderUnavailableError: Anthropic does not respond; the pages so far are kept.
            ProviderRejectedError: Anthropic rejects the credential or the request.
            ProviderProtocolError: a response breaks the documented shape.
        """
        from convergence.processors.anthropic.extraction import extract_usage

        return extract_usage(org, config)
