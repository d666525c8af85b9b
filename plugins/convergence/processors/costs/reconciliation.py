"""`costs.reconciliation`: compare what is computed with what is billed, and say why they differ."""

from __future__ import annotations

from convergence.processors.base import OrgProcessor
from convergence.processors.context import OrgContext, StepResult
from convergence.processors.costs.config import ReconciliationConfig


class Reconciliation(OrgProcessor[ReconciliationConfig]):
    """Publish the comparison of each day whose bill, usage or finality has changed."""

    Config = ReconciliationConfig
    derived = True

    def run_step(self, org: OrgContext, config: ReconciliationConfig) -> StepResult:
        """Return the days by result, and of each stream the sums of the run's days by reason.

        Raises:
            InputNotAsRecordedError: a table of a stream differs from the ledger.
            InputChangedError: a table keeps changing while the query reads it.
        """
        from convergence.processors.costs.reconciling import reconcile_streams

        return reconcile_streams(org, config)
