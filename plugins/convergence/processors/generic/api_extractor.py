"""`generic.api_extractor`: any REST API into a typed table, by YAML alone."""

from __future__ import annotations

from convergence.processors.base import OrgProcessor
from convergence.processors.context import OrgContext, StepResult
from convergence.processors.generic.config import ApiExtractorConfig


class ApiExtractor(OrgProcessor[ApiExtractorConfig]):
    """Read the list to its proved end and publish each day as one partition."""

    Config = ApiExtractorConfig

    def run_step(self, org: OrgContext, config: ApiExtractorConfig) -> StepResult:
        """Read the API; return rows, table, days, and the counts of fields without a column.

        Raises:
            ProviderUnavailableError: the API does not answer; pages so far are kept.
            ProviderRejectedError: it refuses the credential or the request.
            ProviderProtocolError: an answer breaks the table's types or the declared paging.
            ConfigurationError: the URL lies where the credential may not go.
        """
        from convergence.processors.lib.rest.rest_extraction import extract_api

        return extract_api(org, config)
