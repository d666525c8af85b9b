"""What the API takes and answers about prices."""

from __future__ import annotations

from datetime import date
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from convergence.api.http.models import Answer, Line
from convergence.api.rates.term_models import DatedTerms

_EXAMPLE: JsonDict = {
    "effective_from": "2026-01-01",
    "input_per_million": "1.25",
    "output_per_million": "10",
}


class RateRequest(DatedTerms):
    """An organization's own rate; beside these fields, the rates that the provider has."""

    model_config = ConfigDict(
        extra="allow", str_max_length=2_000, json_schema_extra={"example": _EXAMPLE}
    )

    service_tier: Literal["standard", "batch", "flex", "priority", "fast"] = "standard"


class ModelRateRequest(RateRequest):
    """The same, with the model it is for."""

    model_config = ConfigDict(
        extra="allow",
        str_max_length=2_000,
        json_schema_extra={"example": {"model_id": "gpt-5", **_EXAMPLE}},
    )

    model_id: Line


class PriceRow(BaseModel):
    """A price; beside these fields, the rates that the provider has, as decimal text."""

    model_config = ConfigDict(extra="allow")

    model_id: str
    service_tier: str
    currency: str
    is_override: bool = Field(description="Whether it is the organization's own rate.")
    effective_from: date
    effective_to: date | None = None


class PriceList(Answer):
    """Prices, by model and tier, newest first."""

    org_slug: str
    provider: str
    prices: list[PriceRow]
