"""`openai.seed_csv`: load OpenAI's default prices into the org's price table."""

from __future__ import annotations

from convergence.processors.base import OrgProcessor
from convergence.processors.context import OrgContext, StepResult
from convergence.processors.openai.config import SeedCsvConfig


class SeedCsv(OrgProcessor[SeedCsvConfig]):
    """Update the org's default prices to the price book; the rates that the org set itself stay."""

    Config = SeedCsvConfig

    def run_step(self, org: OrgContext, config: SeedCsvConfig) -> StepResult:
        """Return the number of rows written (0 when nothing changed), the table and the edition.

        Raises:
            PriceBookError: the book has errors; each is reported with its line and field.
        """
        from convergence.processors.lib.pricing.price_seed import seed_prices

        return seed_prices(org, config)
