"""Responses about cost."""

from __future__ import annotations

from datetime import date
from typing import Literal

from pydantic import ConfigDict, Field

from convergence.api.http.models import DecimalText, ResponseModel

Bases = Literal["billed", "computed", "mixed"]
Shown = Literal["billed", "preliminary", "computed", "zero", "none"]
BillState = Literal[
    "covers", "partial", "expected", "late", "empty", "unreadable", "no_bill", "not_connected"
]
UsageState = Literal[
    "published", "suspect", "missing", "failed", "not_observable", "none", "not_connected"
]


class CostRow(ResponseModel):
    """Cost of one group in one currency.

    An amount is null when nothing in the group has a price. Tags are fields named `tag:NAME`.
    """

    model_config = ConfigDict(extra="allow")

    day: date | None = None
    billing_month: str | None = Field(default=None, description="Month of the invoice, YYYY-MM.")
    provider: str | None = None
    stream: str | None = Field(default=None, description="Cost stream, such as openai/api.")
    service: str | None = None
    charge_category: str | None = Field(
        default=None, description="Usage, Purchase, Tax, Credit or Adjustment."
    )
    model: str | None = None
    sku: str | None = None
    meter: str | None = Field(default=None, description="Class of tokens, or the provider's meter.")
    project: str | None = None
    api_key: str | None = Field(default=None, description="Id of the API key.")
    user: str | None = None
    region: str | None = None
    attribution: str | None = Field(
        default=None,
        description="direct, proportional, unattributed, not_billed or never_billed; null where "
        "a bill is not matched to usage.",
    )
    billed_cost: DecimalText | None = Field(
        description="BilledCost: what the invoice shows, including what it is expected to show."
    )
    expected_cost: DecimalText | None = Field(
        description="The part of billed_cost that is computed from usage and not yet billed."
    )
    effective_cost: DecimalText | None = Field(
        description="EffectiveCost: commitments are spread over the usage that they cover."
    )
    list_cost: DecimalText | None
    cost: DecimalText | None = Field(
        description="EffectiveCost, as effective_cost. Deprecated: use billed_cost for what is "
        "invoiced and effective_cost for analysis.",
        json_schema_extra={"deprecated": True},
    )
    basis: Bases
    currency: str


class CostTotal(ResponseModel):
    """The sum of all groups of one currency, on every page."""

    currency: str
    basis: Bases
    billed_cost: DecimalText
    expected_cost: DecimalText = Field(description="The computed part of billed_cost.")
    effective_cost: DecimalText
    list_cost: DecimalText
    cost: DecimalText = Field(
        description="As effective_cost. Deprecated.", json_schema_extra={"deprecated": True}
    )


class BillingMonth(ResponseModel):
    """A month of invoices that has charges in the requested days."""

    billing_month: str = Field(description="YYYY-MM.")
    first_day: date
    last_day: date
    is_cut: bool = Field(
        description="Whether the requested days leave out days of the month: the sum is then not "
        "that of an invoice."
    )


class CoverageDay(ResponseModel):
    """What one cost stream shows for one day, and the state of its bill and its usage."""

    day: date
    stream: str
    shown: Shown
    bill: BillState
    bill_expected_on: date | None = Field(
        default=None, description="When the bill is expected to cover the day at the latest."
    )
    bill_run_id: str | None = None
    usage: UsageState
    usage_run_id: str | None = None
    finality: str | None = None


class UnpricedUsage(ResponseModel):
    """Usage without a cost, and the reason."""

    day: date
    provider: str
    model: str | None
    reason: str | None
    requests: int | None


class CostResponse(ResponseModel):
    """Cost of a range of days, grouped as requested."""

    org_slug: str
    start_date: date
    end_date: date
    group_by: list[str]
    basis: Bases | None = Field(
        description="Basis of all rows; mixed when they are of both; null without rows, or when "
        "currencies differ in it."
    )
    currency: str | None = Field(
        description="Currency of all rows; null when rows differ or are absent."
    )
    rows: list[CostRow]
    totals: list[CostTotal]
    billing_months: list[BillingMonth]
    coverage: list[CoverageDay]
    unpriced: list[UnpricedUsage]
    row_count: int = Field(description="Number of rows of all pages.")
    next_page: str | None = Field(
        default=None, description="Send it as `page` for the next rows; absent on the last page."
    )
