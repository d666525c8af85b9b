"""Infer the spend and the top-ups between two observations of a balance, without any I/O.

DeepSeek reports no usage, only a balance of granted and topped-up money, and uses granted money
first (https://api-docs.deepseek.com/quick_start/pricing). A lower balance means spend. A higher
balance means a top-up and spend, both of unknown amounts: the smallest whole top-up that fits is
assumed, and a caveat marks it as an estimate. A top-up that is smaller than the spend of the same
time is not visible. Granted money also ends when a grant expires, which looks like usage: a caveat
marks each fall of the granted balance.

A currency that an observation does not state is unknown, not zero: it has no row, and its spend
is part of the next observation that states it.
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
GRANT_EXPIRY = "grant_expiry_possible"


@dataclass(frozen=True, slots=True)
class Balance:
    """The balance of an account in one currency; `extra` holds fields without a column."""

    currency: str
    granted: Decimal
    topped_up: Decimal
    total: Decimal
    extra: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Observation:
    """The balances that the provider states at one moment; a missing currency is unknown."""

    observed_at: datetime
    balances: Mapping[str, Balance]
    is_available: bool | None = None


@dataclass(frozen=True, slots=True)
class EarlierBalance:
    """The last known balance of one currency, and when it was observed."""

    balance: Balance
    observed_at: datetime


@dataclass(frozen=True, slots=True)
class BalanceChange:
    """A change of balance: `paid_in - paid_spend` and `grant - granted_spend` are exact.

    Attributes:
        caveats: the names of the estimates among the parts.
    """

    paid_in: Decimal
    paid_spend: Decimal
    grant: Decimal
    granted_spend: Decimal
    caveats: tuple[str, ...]

    @property
    def spend(self) -> Decimal:
        """The cost of the usage, paid from granted or topped-up money."""
        return self.paid_spend + self.granted_spend


def infer_change(before: Balance, after: Balance, *, top_up_step: Decimal) -> BalanceChange:
    """Return the smallest top-up and the spend that explain the difference of two balances.

    Args:
        before: the earlier balance.
        after: the later one, in the same currency.
        top_up_step: the amount that every top-up is a multiple of.
    """
    paid, granted = after.topped_up - before.topped_up, after.granted - before.granted
    paid_in = _least_multiple(paid, top_up_step)
    grant = max(granted, ZERO)
    estimates = ((TOP_UP, paid_in > 0), (GRANT, grant > 0), (GRANT_EXPIRY, granted < 0))
    return BalanceChange(
        paid_in=paid_in,
        paid_spend=paid_in - paid,
        grant=grant,
        granted_spend=grant - granted,
        caveats=tuple(name for name, is_estimated in estimates if is_estimated),
    )


def build_rows(
    earlier: Mapping[str, EarlierBalance], now: Observation, *, day: str, top_up_step: Decimal
) -> Iterator[dict[str, Any]]:
    """Yield the rows of the table, one per currency that the observation states.

    The first observation of a currency has no earlier one to compare with: its spend is unknown,
    not zero.
    """
    for currency in sorted(now.balances):
        after, before = now.balances[currency], earlier.get(currency)
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
        yield row | (
            _unknown_spend() if before is None else _compare_balances(before, after, top_up_step)
        )


def earlier_from_rows(found: Sequence[Mapping[str, Any]]) -> dict[str, EarlierBalance]:
    """Return the last known balance of each currency from rows that `build_rows` stored."""
    return {
        row["currency"]: EarlierBalance(
            Balance(
                row["currency"],
                granted=row["granted_balance"],
                topped_up=row["topped_up_balance"],
                total=row["total_balance"],
            ),
            row["observed_at"],
        )
        for row in found
    }


def _compare_balances(
    before: EarlierBalance, after: Balance, top_up_step: Decimal
) -> dict[str, Any]:
    found = infer_change(before.balance, after, top_up_step=top_up_step)
    return {
        "previous_observed_at": before.observed_at,
        "previous_total_balance": before.balance.total,
        "top_up": found.paid_in,
        "grant_received": found.grant,
        "paid_spend": found.paid_spend,
        "granted_spend": found.granted_spend,
        "spend": found.spend,
        "caveats": ",".join(found.caveats) or None,
    }


def _unknown_spend() -> dict[str, Any]:
    names = ("top_up", "grant_received", "paid_spend", "granted_spend", "spend", "caveats")
    return dict.fromkeys(("previous_observed_at", "previous_total_balance", *names))


def _least_multiple(amount: Decimal, step: Decimal) -> Decimal:
    if amount <= 0:
        return ZERO
    return (amount / step).to_integral_value(ROUND_CEILING) * step
