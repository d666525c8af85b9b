"""`generic.seed_csv`: a provider's default prices or plans into the org's table of them."""

from __future__ import annotations

from convergence.processors.base import OrgProcessor
from convergence.processors.context import OrgContext, StepResult
from convergence.processors.generic.config import SeedCsvConfig


class SeedCsv(OrgProcessor[SeedCsvConfig]):
    """Bring the org's defaults up to the price book; what it maintains itself stays."""

    Config = SeedCsvConfig

    def run_step(self, org: OrgContext, config: SeedCsvConfig) -> StepResult:
        """Load the file; return written rows (0 without a change), table and edition.

        Raises:
            PriceBookError: the book is wrong; every fault is named with line and field.
        """
        from convergence.processors.lib.pricing.price_seed import seed_prices

        return seed_prices(org, config)
