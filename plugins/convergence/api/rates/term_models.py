"""What requests and answers about an organization's own terms have in common."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Annotated

from fastapi import Path
from pydantic import BaseModel, BeforeValidator, Field

from convergence.api.http.days import Day
from convergence.api.http.models import Answer, Line
from convergence.api.rates.tables import MONEY_TOLD, amount


def _money(value: object) -> Decimal:
    found = amount(value)
    if found is None:
        raise ValueError(MONEY_TOLD)
    return found


Money = Annotated[Decimal, BeforeValidator(_money, json_schema_input_type=str | float)]
"""An amount as a number or as decimal text; no float touches it after it was parsed."""

Name = Annotated[Line, Path()]
"""A model or plan in a path."""


class DatedTerms(BaseModel):
    """Terms of the organization's own: their money and their days."""

    currency: str = Field(default="USD", pattern=r"^[A-Z]{3}$", description="ISO 4217.")
    effective_from: Day = Field(description="First UTC day in force.")
    effective_to: Day | None = Field(
        default=None, description="First UTC day no longer in force; absent for no end."
    )
    notes: Line | None = None


class OverridesEnded(Answer):
    """The organization's own terms that were ended; the defaults apply from that day on."""

    org_slug: str
    provider: str
    ended: int
    effective_to: date
