"""Responses about an organization's quota."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from convergence.api.http.models import ResponseModel


class LimitUse(ResponseModel):
    """A limit of the plan and its use."""

    maximum: int
    used: int
    remaining: int
    resets_at: datetime | None = Field(
        default=None, description="When the use is reset, UTC; absent for limits without reset."
    )


class QuotaResponse(ResponseModel):
    """The limits of the organization's plan; runs count regardless of who started them."""

    org_slug: str
    plan: str
    runs_per_day: LimitUse = Field(description="Per UTC day.")
    runs_per_month: LimitUse = Field(description="Per UTC month.")
    concurrent_runs: LimitUse = Field(description="Runs that have not ended.")
    providers: LimitUse = Field(description="Connected providers.")
    max_seats: int
