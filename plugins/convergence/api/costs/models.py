"""Cost, as the API answers it."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Annotated

from pydantic import Field, PlainSerializer

from convergence.api.http.models import Answer

Amount = Annotated[
    Decimal,
    PlainSerializer(lambda value: format(value, "f"), return_type=str, when_used="json"),
]
"""Money as decimal text: no float touches it on the way."""


class CostRow(Answer):
    """Cost of one group; `cost` is null where nothing in it has a price."""

    day: date | None = None
    provider: str | None = None
    service: str | None = None
    model: str | None = None
    project: str | None = None
    cost: Amount | None = Field(description="EffectiveCost.")
    list_cost: Amount | None
    billed_cost: Amount | None
    basis: str
    currency: str


class CostTotal(Answer):
    """The sum of the rows of one basis and one currency."""

    basis: str
    currency: str
    cost: Amount


class Unpriced(Answer):
    """Usage without a cost, and why."""

    day: date
    provider: str
    model: str | None
    reason: str | None
    requests: int | None


class CostAnswer(Answer):
    """Cost by what was asked for."""

    org_slug: str
    start_date: date
    end_date: date
    group_by: list[str]
    basis: str | None = Field(description="Of every row; null where rows differ or there are none.")
    currency: str | None = Field(
        description="Of every row; null where rows differ or there are none."
    )
    rows: list[CostRow]
    totals: list[CostTotal]
    unpriced: list[Unpriced]
