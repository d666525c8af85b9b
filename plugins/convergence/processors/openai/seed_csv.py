"""`openai.seed_csv`: OpenAI's default prices into the org's price table."""

from __future__ import annotations

from convergence.processors.base import OrgProcessor
from convergence.processors.context import OrgContext, StepResult
from convergence.processors.openai.config import SeedCsvConfig


class SeedCsv(OrgProcessor[SeedCsvConfig]):
    """Bring the org's default prices up to the price book; its own rates stay."""

    Config = SeedCsvConfig

    def run_step(self, org: OrgContext, config: SeedCsvConfig) -> StepResult:
        """Answer with rows written (0 when nothing changed), table and edition.

        Raises:
            PriceBookError: the book is wrong; every fault is named with line and field.
        """
        from convergence.processors.lib.pricing.price_seed import seed_prices

        return seed_prices(org, config)
