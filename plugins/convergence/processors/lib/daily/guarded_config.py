"""Configuration of steps whose tables the shrink guard protects."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from convergence.processors.lib.daily.extraction_config import ExtractionConfig
from convergence.processors.step_config import StepConfig
from convergence.runs.shrink_guard import ShrinkLimits

Percent = Annotated[float, Field(ge=0, le=100)]


class ShrinkGuardOptions(BaseModel):
    """How much less a source may state of a published day than before, without question."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    amount_percent: Percent = 5
    """Percent by which a gross amount or a quantity may fall."""

    amount: float = Field(default=1, ge=0)
    """Units of the currency by which a gross amount may fall, whatever the percentage."""

    rows_percent: Percent = 20
    """Percent by which the number of rows may fall."""

    def build_limits(self) -> ShrinkLimits:
        """Return the limits as shares."""
        return ShrinkLimits(
            amount_share=_to_share(self.amount_percent),
            amount=Decimal(str(self.amount)),
            rows_share=_to_share(self.rows_percent),
        )


class GuardedConfig(StepConfig):
    """Base of the configurations of steps that publish what a source states."""

    guards_tables: ClassVar[bool] = True

    shrink_guard: ShrinkGuardOptions = ShrinkGuardOptions()
    """Limits of the shrink guard: a published day is not replaced by a read that holds less."""


class GuardedExtractionConfig(ExtractionConfig, GuardedConfig):
    """Base of the configurations of guarded steps that read a provider's API."""


def _to_share(percent: float) -> Decimal:
    return Decimal(str(percent)) / 100
