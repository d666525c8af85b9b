"""Configuration that every step that reads a provider has."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from convergence.processors.step_config import StepConfig


class RawRetention(BaseModel):
    """For how long a provider's answers are kept as they came."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    days: int = Field(ge=1, le=366)
    """Days after which a kept answer is removed."""


class ExtractionConfig(StepConfig):
    """Base of the configurations of steps that read a provider."""

    retain_raw: RawRetention | None = None
    """Keep the provider's answers below `var/raw`, packed; without it they are not kept."""

    @property
    def raw_days(self) -> int:
        """For how many days answers are kept; 0 when they are not."""
        return self.retain_raw.days if self.retain_raw else 0
