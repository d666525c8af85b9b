from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from convergence.processors.step_config import PlatformConfig, StepConfig


class Window(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    kind: Literal["window"]
    hours: int = Field(default=24, ge=1, le=48)


class Cursor(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    kind: Literal["cursor"]
    param: str = "after"


class FetchConfig(StepConfig):
    """Fetches usage, page by page."""

    ps_type: ClassVar[str] = "sample.fetch"

    destination: str = Field(default="sample_usage_daily_raw", pattern=r"^[a-z][a-z0-9_]*$")
    """Table that is published."""

    granularity: Literal["day", "hour"] = "day"
    endpoints: tuple[str, ...] = ("completions",)
    page_size: int = Field(default=100, ge=1, le=1000)
    since: date | None = None
    paging: Window | Cursor | None = Field(default=None, discriminator="kind")

    def daily_tables(self) -> tuple[str, ...]:
        return (self.destination,)


class PriceConfig(StepConfig):
    """Prices what was fetched."""

    ps_type: ClassVar[str] = "sample.price"

    version: str = "1"
    discount: Decimal = Decimal(0)
    destination: str = "sample_cost_daily"

    def daily_tables(self) -> tuple[str, ...]:
        return (self.destination,)


class PrepareConfig(PlatformConfig):
    """Prepares the platform."""

    ps_type: ClassVar[str] = "sample.prepare"

    answer: str = "done"
