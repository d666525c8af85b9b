"""Requests and responses about an organization's rates: prices per model, plans with seats."""

from __future__ import annotations

from datetime import date, datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from convergence.api.http.days import Day
from convergence.api.http.models import Line, ResponseModel, Whole
from convergence.api.rates.amounts import Amount

_MAX_TEXT = 2_000
_PRICE_EXAMPLE: JsonDict = {
    "effective_from": "2026-01-01",
    "input_per_million": "1.25",
    "output_per_million": "10",
}
_PLAN_EXAMPLE: JsonDict = {
    "seats": 12,
    "price_per_seat": "25",
    "billing_period": "monthly",
    "effective_from": "2026-05-01",
}


class RateRequest(BaseModel):
    """An organization-specific rate: its currency and its days."""

    currency: str = Field(default="USD", pattern=r"^[A-Z]{3}$", description="ISO 4217.")
    effective_from: Day = Field(description="First UTC day of the rate.")
    effective_to: Day | None = Field(
        default=None, description="First UTC day after the rate; absent for no end."
    )
    notes: Line | None = None


class RatesEnded(ResponseModel):
    """The number of ended rates; the defaults apply from `effective_to` on."""

    org_slug: str
    provider: str
    ended: int
    effective_to: date


class PriceRequest(RateRequest):
    """Organization-specific prices of a model; further fields are the provider's rates."""

    model_config = ConfigDict(
        extra="allow", str_max_length=_MAX_TEXT, json_schema_extra={"example": _PRICE_EXAMPLE}
    )

    service_tier: Literal["standard", "batch", "flex", "priority", "fast"] = "standard"


class ModelPriceRequest(PriceRequest):
    """Organization-specific prices of a named model."""

    model_config = ConfigDict(
        extra="allow",
        str_max_length=_MAX_TEXT,
        json_schema_extra={"example": {"model_id": "gpt-5", **_PRICE_EXAMPLE}},
    )

    model_id: Line


class PriceRow(BaseModel):
    """Prices of a model; further fields are the provider's rates, as decimal text."""

    model_config = ConfigDict(extra="allow")

    model_id: str
    service_tier: str
    currency: str
    is_override: bool = Field(description="Whether the prices are organization-specific.")
    effective_from: date
    effective_to: date | None = None


class PriceList(ResponseModel):
    """Prices, by model and tier, newest first."""

    org_slug: str
    provider: str
    prices: list[PriceRow]


class PlanRequest(RateRequest):
    """The organization's seats of a plan and the price of a seat."""

    model_config = ConfigDict(
        extra="forbid", str_max_length=_MAX_TEXT, json_schema_extra={"example": _PLAN_EXAMPLE}
    )

    seats: Whole = Field(ge=0, le=1_000_000, description="Number of paid seats.")
    price_per_seat: Amount = Field(description="Price of one seat for one billing period.")
    billing_period: Literal["monthly", "annual"] = Field(
        default="monthly", description="Period of the price: a month or a year."
    )


class NamedPlanRequest(PlanRequest):
    """The organization's seats of a named plan and the price of a seat."""

    model_config = ConfigDict(
        extra="forbid",
        str_max_length=_MAX_TEXT,
        json_schema_extra={"example": {"plan_name": "chatgpt_business", **_PLAN_EXAMPLE}},
    )

    plan_name: Line


class PlanRow(ResponseModel):
    """A plan: a list price without seats, or the organization's seats; amounts are text."""

    plan_name: str
    billing_period: str
    seats: int
    price_per_seat: str = Field(description="Price of one seat for one billing period.")
    currency: str
    is_override: bool = Field(description="Whether the plan is organization-specific.")
    effective_from: date
    effective_to: date | None = None
    effective_basis: str
    price_version: str
    source_url: str | None = None
    source_date: date | None = None
    notes: str | None = None
    updated_at: datetime


class PlanList(ResponseModel):
    """Plans, newest first; empty for a provider without plans."""

    org_slug: str
    provider: str
    subscriptions: list[PlanRow]
