"""What the API answers about an organization's quota."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from convergence.api.http.models import Answer


class LimitUse(Answer):
    """One limit of the plan and its use."""

    maximum: int
    used: int
    remaining: int
    resets_at: datetime | None = Field(
        default=None, description="When the use begins anew, UTC; absent where it does not."
    )


class QuotaAnswer(Answer):
    """What the organization's plan allows; runs count whoever started them."""

    org_slug: str
    plan: str
    runs_per_day: LimitUse = Field(description="Per UTC day.")
    runs_per_month: LimitUse = Field(description="Per UTC month.")
    concurrent_runs: LimitUse = Field(description="Not ended yet.")
    providers: LimitUse = Field(description="Connected providers.")
    max_seats: int
