"""What was spent between two observations of a balance, and what was paid in: pure.

DeepSeek tells no usage, only a balance of granted and topped-up money, and takes the granted first
(https://api-docs.deepseek.com/quick_start/pricing). A balance that fell was spent. One that rose
was topped up by an unknown amount while an unknown amount was spent: the least whole top-up that
fits is assumed, and said to be an estimate. A top-up that is smaller than what was spent in the
same time can't be seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_CEILING, Decimal
from typing import Any

ZERO = Decimal(0)
TOP_UP = "top_up_estimated"
GRANT = "grant_estimated"


@dataclass(frozen=True, slots=True)
class Balance:
    """What an account holds in one currency; `extra` is what else was told of it."""

    currency: str
    granted: Decimal
    topped_up: Decimal
    total: Decimal
    extra: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Observation:
    """All balances of an account at one moment; a currency that is not among them holds nothing."""

    observed_at: datetime
    balances: Mapping[str, Balance]
    is_available: bool | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """From one balance to the next: `paid_in - paid_spend` and `grant - granted_spend` are exact.

    Attributes:
        caveats: which of the parts are estimates.
    """

    paid_in: Decimal
    paid_spend: Decimal
    grant: Decimal
    granted_spend: Decimal
    caveats: tuple[str, ...]

    @property
    def spend(self) -> Decimal:
        """What usage cost, whoever paid."""
        return self.paid_spend + self.granted_spend


def change(before: Balance, after: Balance, *, top_up_step: Decimal) -> Change:
    """What must have happened.

    Args:
        before: the earlier balance.
        after: the later one, in the same currency.
        top_up_step: what every top-up is a multiple of.
    """
    paid, granted = after.topped_up - before.topped_up, after.granted - before.granted
    paid_in = _least_multiple(paid, top_up_step)
    grant = max(granted, ZERO)
    told = ((TOP_UP, paid_in > 0), (GRANT, grant > 0))
    return Change(
        paid_in=paid_in,
        paid_spend=paid_in - paid,
        grant=grant,
        granted_spend=grant - granted,
        caveats=tuple(name for name, holds in told if holds),
    )


def rows(
    before: Observation | None, now: Observation, *, day: str, top_up_step: Decimal
) -> Iterator[dict[str, Any]]:
    """Rows of the table, one per currency of either observation.

    The first observation has nothing to compare with: its spend is unknown, never zero.
    """
    currencies = sorted({*now.balances, *(before.balances if before else ())})
    for currency in currencies:
        after = now.balances.get(currency) or _nothing(currency)
        row = {
            "usage_date": day,
            "currency": currency,
            "observed_at": now.observed_at,
            "is_available": now.is_available,
            "total_balance": after.total,
            "granted_balance": after.granted,
            "topped_up_balance": after.topped_up,
            "extra": after.extra,
        }
        yield row | (_unknown() if before is None else _compared(before, after, top_up_step))


def read(found: Sequence[Mapping[str, Any]]) -> Observation | None:
    """An observation from the rows that `rows` made of it; None when there are none."""
    if not found:
        return None
    balances = {
        row["currency"]: Balance(
            row["currency"],
            granted=row["granted_balance"],
            topped_up=row["topped_up_balance"],
            total=row["total_balance"],
        )
        for row in found
    }
    return Observation(found[0]["observed_at"], balances)


def _compared(before: Observation, after: Balance, top_up_step: Decimal) -> dict[str, Any]:
    earlier = before.balances.get(after.currency) or _nothing(after.currency)
    found = change(earlier, after, top_up_step=top_up_step)
    return {
        "previous_observed_at": before.observed_at,
        "previous_total_balance": earlier.total,
        "top_up": found.paid_in,
        "grant_received": found.grant,
        "paid_spend": found.paid_spend,
        "granted_spend": found.granted_spend,
        "spend": found.spend,
        "caveats": ",".join(found.caveats) or None,
    }


def _unknown() -> dict[str, Any]:
    names = ("top_up", "grant_received", "paid_spend", "granted_spend", "spend", "caveats")
    return dict.fromkeys(("previous_observed_at", "previous_total_balance", *names))


def _nothing(currency: str) -> Balance:
    return Balance(currency, ZERO, ZERO, ZERO)


def _least_multiple(amount: Decimal, step: Decimal) -> Decimal:
    if amount <= 0:
        return ZERO
    return (amount / step).to_integral_value(ROUND_CEILING) * step
