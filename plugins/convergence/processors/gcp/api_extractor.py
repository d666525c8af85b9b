"""`gcp.api_extractor`: a daily snapshot of any list of Google's REST APIs."""

from __future__ import annotations

from convergence.processors.base import OrgProcessor
from convergence.processors.context import OrgContext, StepResult
from convergence.processors.gcp.config import ApiExtractorConfig


class ApiExtractor(OrgProcessor[ApiExtractorConfig]):
    """Read the list to its end, and publish it as yesterday's closing state."""

    Config = ApiExtractorConfig

    def run_step(self, org: OrgContext, config: ApiExtractorConfig) -> StepResult:
        """Read the list; return rows, table and the observed days.

        Raises:
            IntegrationInvalidError: Google does not accept the account's key.
            ProviderUnavailableError: Google does not answer.
            ProviderRejectedError: Google refuses the request.
            ProviderProtocolError: an answer breaks the documented shape.
        """
        from convergence.processors.gcp.snapshot import take_snapshot

        return take_snapshot(org, config)
