"""What the API takes and answers about plans with seats."""

from __future__ import annotations

from datetime import date, datetime
from typing import Literal

from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from convergence.api.http.models import Answer, Line, Whole
from convergence.api.rates.term_models import DatedTerms, Money

_EXAMPLE: JsonDict = {
    "seats": 12,
    "price_per_seat": "25",
    "billing_period": "monthly",
    "effective_from": "2026-05-01",
}


class PlanRequest(DatedTerms):
    """The organization's own seats of a plan, and what one costs."""

    model_config = ConfigDict(
        extra="forbid", str_max_length=2_000, json_schema_extra={"example": _EXAMPLE}
    )

    seats: Whole = Field(ge=0, le=1_000_000, description="Seats paid for.")
    price_per_seat: Money = Field(description="Of one seat for one billing period.")
    billing_period: Literal["monthly", "annual"] = Field(
        default="monthly", description="What one price pays for: a month, or a whole year."
    )


class NamedPlanRequest(PlanRequest):
    """The same, with the plan it is for."""

    model_config = ConfigDict(
        extra="forbid",
        str_max_length=2_000,
        json_schema_extra={"example": {"plan_name": "chatgpt_business", **_EXAMPLE}},
    )

    plan_name: Line


class SubscriptionRow(Answer):
    """A plan: a list price without seats, or the organization's own; amounts are decimal text."""

    plan_name: str
    billing_period: str
    seats: int
    price_per_seat: str = Field(description="Of one seat for one billing period.")
    currency: str
    is_override: bool = Field(description="Whether it is the organization's own.")
    effective_from: date
    effective_to: date | None = None
    effective_basis: str
    price_version: str
    source_url: str | None = None
    source_date: date | None = None
    notes: str | None = None
    updated_at: datetime


class SubscriptionList(Answer):
    """Plans, newest first; none where the provider has no plans."""

    org_slug: str
    provider: str
    subscriptions: list[SubscriptionRow]
