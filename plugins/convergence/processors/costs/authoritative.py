"""`costs.authoritative`: publish the rows of each cost stream whose sum the invoice shows."""

from __future__ import annotations

from convergence.processors.base import OrgProcessor
from convergence.processors.context import OrgContext, StepResult
from convergence.processors.costs.config import AuthoritativeConfig


class Authoritative(OrgProcessor[AuthoritativeConfig]):
    """Publish each day of which a bill, the computed cost or the finality has changed."""

    Config = AuthoritativeConfig
    derived = True

    def run_step(self, org: OrgContext, config: AuthoritativeConfig) -> StepResult:
        """Return the published rows and, for each stream, the days by result.

        Raises:
            InputNotAsRecordedError: a table of a stream differs from the ledger.
            InputChangedError: a table keeps changing while the query reads it.
        """
        from convergence.processors.costs.publishing import publish_streams

        return publish_streams(org, config)
