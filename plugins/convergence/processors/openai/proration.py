"""The monthly cost of plans with seats: prorated by the day, summed exactly, rounded once.

A plan's month has a new part where its seats, its price or its list price change. Each part costs
its share of the month's price by days, `seats * price * days / days of the month`, as OpenAI
charges seats that are added midway (help.openai.com, article 8792536). The running
total is rounded, so that the parts sum to the rounded cost of the month.
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
"""Months of a billing period; a year's price is spread over its twelve months evenly."""
_UNIT = 10**9  # NUMERIC's 9 decimals


@dataclass(frozen=True, slots=True)
class SeatPlan:
    """One plan: a list price without seats, or the seats and the price of the org.

    Attributes:
        price_per_seat: for one billing period.
        effective_from: first UTC day in force.
        effective_to: first UTC day no longer in force; None without an end.
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
        """The plan and billing period; on one day each has one price."""
        return (self.plan_name, self.billing_period)

    @property
    def monthly_price(self) -> Fraction:
        """The exact price of all seats for one month."""
        return self.seats * Fraction(self.price_per_seat) / MONTHS_PAID_BY[self.billing_period]

    def is_in_force(self, day: date) -> bool:
        """Return whether the plan applies on a UTC day."""
        return self.effective_from <= day and (self.effective_to is None or day < self.effective_to)


class _PlanOfDay(NamedTuple):
    """The plan that applies on a day, and its list price."""

    plan: SeatPlan
    listed: SeatPlan | None

    @property
    def monthly_list_price(self) -> Fraction:
        listed = self.listed
        if listed is None or listed.currency != self.plan.currency:
            return self.plan.monthly_price
        months = MONTHS_PAID_BY[listed.billing_period]
        return self.plan.seats * Fraction(listed.price_per_seat) / months


class _Part(NamedTuple):
    of_day: _PlanOfDay
    begins: date
    days: int


def next_month(day: date) -> date:
    """Return the first day of the month after a day."""
    return (day.replace(day=1) + timedelta(days=32)).replace(day=1)


def build_month_rows(
    plans: Sequence[SeatPlan], month: date, *, until: date
) -> list[dict[str, Any]]:
    """Return the month's cost, one row for each part without a change; no row without seats.

    Args:
        plans: list prices and plans of the org, of any time.
        month: its first day.
        until: the first UTC day that is not over; a past month is complete.
    """
    ends = min(until, next_month(month))
    skus = sorted({plan.sku for plan in plans})
    rows: list[dict[str, Any]] = []
    for sku in skus:
        parts = _split_month([plan for plan in plans if plan.sku == sku], month, ends)
        by_currency = sorted(parts, key=lambda part: (part.of_day.plan.currency, part.begins))
        for _, group in groupby(by_currency, key=lambda part: part.of_day.plan.currency):
            rows += _price_parts(list(group), month)
    return rows


def round_amount(amount: Fraction) -> Decimal:
    """Round half away from zero to NUMERIC's 9 decimals; the amount must not be negative."""
    return Decimal(int(amount * _UNIT + Fraction(1, 2))).scaleb(-9)


def _split_month(plans: Sequence[SeatPlan], first: date, ends: date) -> Iterator[_Part]:
    days = [first + timedelta(days=number) for number in range((ends - first).days)]
    for of_day, group in groupby(days, key=lambda day: _find_plan(plans, day)):
        same = list(group)
        if of_day is not None and of_day.plan.seats:
            yield _Part(of_day, same[0], len(same))


def _find_plan(plans: Sequence[SeatPlan], day: date) -> _PlanOfDay | None:
    """Return the newest plan of the org, else the newest default, with the newest list price."""
    found = sorted(
        (plan for plan in plans if plan.is_in_force(day)),
        key=lambda plan: (plan.is_override, plan.effective_from),
        reverse=True,
    )
    listed = next((plan for plan in found if not plan.is_override), None)
    return _PlanOfDay(found[0], listed) if found else None


def _price_parts(parts: Sequence[_Part], month: date) -> Iterator[dict[str, Any]]:
    days_in_month = (next_month(month) - month).days
    cost = list_cost = Fraction(0)
    for (plan, listed), begins, days in parts:
        before, list_before = round_amount(cost), round_amount(list_cost)
        share = Fraction(days, days_in_month)
        cost += plan.monthly_price * share
        list_cost += _PlanOfDay(plan, listed).monthly_list_price * share
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
            "cost": format(round_amount(cost) - before, "f"),
            "list_cost": format(round_amount(list_cost) - list_before, "f"),
            "price_is_override": plan.is_override,
            "price_effective_from": plan.effective_from.isoformat(),
            "price_version": plan.price_version,
        }


def plan_from_row(row: Mapping[str, Any]) -> SeatPlan:
    """Return a plan from a row of the org's table."""
    return SeatPlan(**{name: row[name] for name in SeatPlan.__dataclass_fields__})
