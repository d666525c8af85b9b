"""Responses about cost."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Annotated

from pydantic import Field, PlainSerializer

from convergence.api.http.models import ResponseModel

DecimalText = Annotated[
    Decimal,
    PlainSerializer(lambda value: format(value, "f"), return_type=str, when_used="json"),
]
"""Money as decimal text: it is never converted to a float."""


class CostRow(ResponseModel):
    """Cost of one group; `cost` is null when nothing in the group has a price."""

    day: date | None = None
    provider: str | None = None
    service: str | None = None
    model: str | None = None
    project: str | None = None
    cost: DecimalText | None = Field(description="EffectiveCost.")
    list_cost: DecimalText | None
    billed_cost: DecimalText | None
    basis: str
    currency: str


class CostTotal(ResponseModel):
    """The sum of the rows of one basis and one currency."""

    basis: str
    currency: str
    cost: DecimalText


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
    basis: str | None = Field(description="Basis of all rows; null when rows differ or are absent.")
    currency: str | None = Field(
        description="Currency of all rows; null when rows differ or are absent."
    )
    rows: list[CostRow]
    totals: list[CostTotal]
    unpriced: list[UnpricedUsage]
