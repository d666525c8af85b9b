from __future__ import annotations

from convergence.processors.base import OrgProcessor
from convergence.processors.context import OrgContext, StepResult

from .config import PriceConfig


class Price(OrgProcessor[PriceConfig]):
    """Prices usage."""

    Config = PriceConfig

    def run_step(self, org: OrgContext, config: PriceConfig) -> StepResult:
        return StepResult(rows_processed=len(org.days), destination_table=config.destination)
