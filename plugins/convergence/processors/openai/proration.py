"""What plans with seats cost in a month: by the day, summed exactly, rounded once.

A plan's month is cut where its seats, its price or its list price change. Each cut has its share
of the month's days of the month's price, `seats * price * days / days of the month`, as OpenAI
charges seats that are added midway (help.openai.com, article 8792536). The running total is what
is rounded, so a month's parts sum to the month as if it had been rounded in one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import groupby
from typing import Any, NamedTuple

MONTHS_PAID_BY = {"monthly": 1, "annual": 12}
"""A year's price is spread over its twelve months evenly."""
_UNIT = 10**9  # NUMERIC's 9 decimals


@dataclass(frozen=True, slots=True)
class Plan:
    """Terms of one plan: a list price without seats, or the org's own.

    Attributes:
        price_per_seat: for one billing period.
        effective_from: first UTC day in force.
        effective_to: first UTC day no longer in force; None while it is.
    """

    plan_name: str
    billing_period: str
    currency: str
    is_override: bool
    seats: int
    price_per_seat: Decimal
    effective_from: date
    effective_to: date | None
    price_version: str

    @property
    def sku(self) -> tuple[str, str]:
        """What terms of one day are told apart by."""
        return (self.plan_name, self.billing_period)

    @property
    def monthly(self) -> Fraction:
        """All seats' price for one month, exactly."""
        return self.seats * Fraction(self.price_per_seat) / MONTHS_PAID_BY[self.billing_period]

    def in_force(self, day: date) -> bool:
        """Whether it applies on a UTC day."""
        return self.effective_from <= day and (self.effective_to is None or day < self.effective_to)


class _Terms(NamedTuple):
    """What applies to a plan on a day: the org's terms, and the list price beside them."""

    plan: Plan
    listed: Plan | None

    @property
    def list_monthly(self) -> Fraction:
        listed = self.listed
        if listed is None or listed.currency != self.plan.currency:
            return self.plan.monthly
        months = MONTHS_PAID_BY[listed.billing_period]
        return self.plan.seats * Fraction(listed.price_per_seat) / months


class _Cut(NamedTuple):
    terms: _Terms
    begins: date
    days: int


def next_month(day: date) -> date:
    """The first day of the month after a day's."""
    return (day.replace(day=1) + timedelta(days=32)).replace(day=1)


def month_rows(plans: Sequence[Plan], month: date, *, until: date) -> list[dict[str, Any]]:
    """The month's cost, one row for each time in which nothing changed; no row without seats.

    Args:
        plans: list prices and the org's own, of any time.
        month: its first day.
        until: the first UTC day that is not over; a later month is not cut short by it.
    """
    ends = min(until, next_month(month))
    skus = sorted({plan.sku for plan in plans})
    rows: list[dict[str, Any]] = []
    for sku in skus:
        cuts = _cuts([plan for plan in plans if plan.sku == sku], month, ends)
        by_currency = sorted(cuts, key=lambda cut: (cut.terms.plan.currency, cut.begins))
        for _, group in groupby(by_currency, key=lambda cut: cut.terms.plan.currency):
            rows += _priced(list(group), month)
    return rows


def rounded(amount: Fraction) -> Decimal:
    """Half away from zero, to NUMERIC's 9 decimals; for amounts that are not negative."""
    return Decimal(int(amount * _UNIT + Fraction(1, 2))).scaleb(-9)


def _cuts(plans: Sequence[Plan], first: date, ends: date) -> Iterator[_Cut]:
    days = [first + timedelta(days=number) for number in range((ends - first).days)]
    for terms, group in groupby(days, key=lambda day: _terms_on(plans, day)):
        same = list(group)
        if terms is not None and terms.plan.seats:
            yield _Cut(terms, same[0], len(same))


def _terms_on(plans: Sequence[Plan], day: date) -> _Terms | None:
    """The org's own terms before the defaults, and the newest of each."""
    found = sorted(
        (plan for plan in plans if plan.in_force(day)),
        key=lambda plan: (plan.is_override, plan.effective_from),
        reverse=True,
    )
    listed = next((plan for plan in found if not plan.is_override), None)
    return _Terms(found[0], listed) if found else None


def _priced(cuts: Sequence[_Cut], month: date) -> Iterator[dict[str, Any]]:
    days_in_month = (next_month(month) - month).days
    cost = list_cost = Fraction(0)
    for (plan, listed), begins, days in cuts:
        before, list_before = rounded(cost), rounded(list_cost)
        share = Fraction(days, days_in_month)
        cost += plan.monthly * share
        list_cost += _Terms(plan, listed).list_monthly * share
        yield {
            "usage_month": month.isoformat(),
            "plan_name": plan.plan_name,
            "billing_period": plan.billing_period,
            "period_start": begins.isoformat(),
            "period_end": (begins + timedelta(days=days)).isoformat(),
            "days": days,
            "days_in_month": days_in_month,
            "seats": plan.seats,
            "price_per_seat": format(plan.price_per_seat, "f"),
            "currency": plan.currency,
            "cost": format(rounded(cost) - before, "f"),
            "list_cost": format(rounded(list_cost) - list_before, "f"),
            "price_is_override": plan.is_override,
            "price_effective_from": plan.effective_from.isoformat(),
            "price_version": plan.price_version,
        }


def plan_of(row: Mapping[str, Any]) -> Plan:
    """Terms as the org's table has them."""
    return Plan(**{name: row[name] for name in Plan.__dataclass_fields__})
