"""`generic.price_rollout`: a new edition of a price book, to every org that follows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from convergence.processors.base import PlatformProcessor
from convergence.processors.context import PlatformContext, StepResult
from convergence.processors.generic.config import PriceRolloutConfig


class PriceRollout(PlatformProcessor[PriceRolloutConfig]):
    """Bring each org's defaults up to the book; its own terms and its past days' costs stay."""

    Config = PriceRolloutConfig

    def run_step(
        self, platform: PlatformContext, config: PriceRolloutConfig, params: Mapping[str, Any]
    ) -> StepResult:
        """Roll prices out; return the edition and the orgs, also those with changed past days.

        Raises:
            PriceBookError: the book is wrong; nothing is written.
            RetryableError, FatalError: naming the orgs that failed; the others are done.
        """
        from convergence.processors.lib.pricing.price_editions import roll_out_edition

        del params  # it has none
        return roll_out_edition(platform, config)
