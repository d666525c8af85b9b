"""`generic.local_bq_transformer`: a table of the org's dataset filled by a SQL file."""

from __future__ import annotations

from convergence.processors.base import OrgProcessor
from convergence.processors.context import OrgContext, StepResult
from convergence.processors.generic.config import LocalBqTransformerConfig


class LocalBqTransformer(OrgProcessor[LocalBqTransformerConfig]):
    """Estimate the query, hold it to its cap, and publish its rows by day or as a whole."""

    Config = LocalBqTransformerConfig
    derived = True

    def run_step(self, org: OrgContext, config: LocalBqTransformerConfig) -> StepResult:
        """Run the SQL; return rows, table, days and the estimated bytes of the queries.

        Raises:
            ConfigurationError: a query would read more than it may.
            RetryableError: a day of a table that it reads is not in the ledger.
        """
        from convergence.processors.lib.transform.transform import transform

        return transform(org, config)
