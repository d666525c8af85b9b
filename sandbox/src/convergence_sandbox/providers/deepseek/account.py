"""An account's money over time: deterministic spend, top-ups and grants by seed and moment.

Granted money is spent before topped-up money, as DeepSeek does it
(<https://api-docs.deepseek.com/quick_start/pricing>). Amounts are hundredths of the currency.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache

from convergence_sandbox.providers.derive import chance, number, share

OPENED = date(2026, 1, 1)
MINUTES = 1_440
TOP_UP_AT = time(9, 0)
LOW, TOP_UP = {"USD": 30_00, "CNY": 200_00}, {"USD": 100_00, "CNY": 500_00}
MAX_A_DAY = {"USD": 9_00, "CNY": 60_00}
GRANT = {"USD": 10_00, "CNY": 0}


@dataclass(frozen=True)
class Balance:
    """What one currency of an account holds."""

    currency: str
    granted: int
    topped_up: int

    @property
    def total(self) -> int:
        """Both together."""
        return self.granted + self.topped_up

    def spend(self, amount: int) -> Balance:
        """Return the grant goes first."""
        granted = min(self.granted, amount)
        return replace(
            self,
            granted=self.granted - granted,
            topped_up=self.topped_up - (amount - granted),
        )


def currencies(seed: str) -> tuple[str, ...]:
    """USD, and for some seeds CNY next to it."""
    return ("USD", "CNY") if number(seed, "currencies", low=0, high=1) else ("USD",)


def spent(seed: str, currency: str, day: date) -> int:
    """Return what a whole UTC day costs."""
    if chance(seed, currency, day, "idle", percent=10):
        return 0
    return number(seed, currency, day, "spend", low=5, high=MAX_A_DAY[currency])


def topped_up(seed: str, currency: str, day: date) -> int:
    """Return what is paid in on a day, at nine o'clock: money is added when it runs low."""
    return TOP_UP[currency] if _at_midnight(seed, currency, day).total < LOW[currency] else 0


def balances(seed: str, now: datetime) -> Iterator[Balance]:
    """Yield what the account holds at a moment, by currency."""
    for currency in currencies(seed):
        day = now.astimezone(UTC).date()
        minute = int((now - datetime.combine(day, time.min, UTC)) / timedelta(minutes=1))
        yield _within(seed, currency, day, minute)


@lru_cache(maxsize=65_536)
def _at_midnight(seed: str, currency: str, day: date) -> Balance:
    """Return what is there when a day begins."""
    found = Balance(currency, GRANT[currency], TOP_UP[currency])
    if day <= OPENED:
        return found
    # From the nearest day that is known, so that no recursion is deep.
    month = day.replace(day=1)
    start = max(month if month < day else _month_before(day), OPENED)
    found = _at_midnight(seed, currency, start)
    while start < day:
        paid = TOP_UP[currency] if found.total < LOW[currency] else 0
        found = replace(found, topped_up=found.topped_up + paid)
        found = found.spend(spent(seed, currency, start))
        start += timedelta(days=1)
    return found


def _month_before(day: date) -> date:
    return (day - timedelta(days=1)).replace(day=1)


def _within(seed: str, currency: str, day: date, minute: int) -> Balance:
    found = _at_midnight(seed, currency, day)
    if minute >= TOP_UP_AT.hour * 60:
        found = replace(found, topped_up=found.topped_up + topped_up(seed, currency, day))
    whole = spent(seed, currency, day)
    return found.spend(sum(share(whole, index, MINUTES) for index in range(minute)))
