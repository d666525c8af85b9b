"""Responses about the difference between billed and computed cost."""

from __future__ import annotations

from datetime import date

from pydantic import Field

from convergence.api.http.models import DecimalText, ResponseModel


class ReconciliationRow(ResponseModel):
    """One group of compared rows."""

    stream: str | None = None
    sku: str | None = None
    reason: str | None = None
    currency: str
    computed_cost: DecimalText | None = Field(description="Null where rows are grouped by reason.")
    billed_cost: DecimalText | None = Field(description="Null where rows are grouped by reason.")
    difference: DecimalText = Field(
        description="Billed minus computed; grouped by reason, the amount of the reason."
    )
    explained_amount: DecimalText = Field(
        description="Sum of the absolute amounts of reasons that explain them."
    )
    unexplained_amount: DecimalText = Field(
        description="Sum of the absolute amounts that no reason explains."
    )


class ReconciliationTotal(ResponseModel):
    """The sums of all rows of one currency."""

    currency: str
    computed_cost: DecimalText
    billed_cost: DecimalText
    difference: DecimalText
    explained_amount: DecimalText
    unexplained_amount: DecimalText
    explained_share: DecimalText = Field(
        description="Explained part of the absolute amounts; 1 where nothing differs."
    )
    days_compared: int
    days_not_comparable: int = Field(
        description="Days with rows of one side only or of two currencies; no sum includes them."
    )


class ProposedRate(ResponseModel):
    """A contract discount that several models and days have and no rate of the organization."""

    stream: str
    sku: str
    ratio: DecimalText = Field(description="Billed divided by computed cost.")


class ReconciliationResponse(ResponseModel):
    """Billed against computed cost of a range of days, grouped as requested."""

    org_slug: str
    start_date: date
    end_date: date
    group_by: list[str]
    rows: list[ReconciliationRow]
    totals: list[ReconciliationTotal]
    proposed_rates: list[ProposedRate]
