"""Proration against whole months, a day-by-day count, and OpenAI's own worked example."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convergence.processors.openai.proration import (
    SeatPlan,
    build_month_rows,
    next_month,
    round_amount,
)

NOVEMBER = date(2026, 11, 1)
LATER = date(2030, 1, 1)


def plan(begins: date = date(2026, 1, 1), ends: date | None = None, **changes: Any) -> SeatPlan:
    values: dict[str, Any] = {
        "plan_name": "chatgpt_business",
        "billing_period": "monthly",
        "currency": "USD",
        "is_override": True,
        "seats": 10,
        "price_per_seat": Decimal(30),
        "effective_from": begins,
        "effective_to": ends,
        "price_version": "own",
        **changes,
    }
    return SeatPlan(**values)


def costs(rows: Sequence[dict[str, Any]], name: str = "cost") -> list[Decimal]:
    return [Decimal(row[name]) for row in rows]


def day_of_november(number: int) -> date:
    return date(2026, 11, number)


def test_seats_added_midway_cost_their_days_share() -> None:
    # OpenAI's example: 10 seats at 30 USD for 30 days, 3 more for the last 20 of them.
    ten = plan(ends=day_of_november(11))
    thirteen = plan(day_of_november(11), seats=13)
    rows = build_month_rows([ten, thirteen], NOVEMBER, until=LATER)
    assert [(row["days"], row["seats"]) for row in rows] == [(10, 10), (20, 13)]
    assert sum(costs(rows)) == 300 + 60


def test_a_whole_month_costs_its_price_and_a_year_twelve_of_its_months() -> None:
    assert costs(build_month_rows([plan()], NOVEMBER, until=LATER)) == [300]
    yearly = plan(billing_period="annual", price_per_seat=Decimal(240))
    months = [date(2026, number, 1) for number in range(1, 13)]
    year = [build_month_rows([yearly], month, until=LATER) for month in months]
    assert [costs(rows) for rows in year] == [[200]] * 12


def test_while_the_month_runs_only_days_that_are_over_count() -> None:
    rows = build_month_rows([plan()], NOVEMBER, until=day_of_november(16))
    assert [(row["days"], row["days_in_month"]) for row in rows] == [(15, 30)]
    assert costs(rows) == [150]
    assert build_month_rows([plan()], NOVEMBER, until=NOVEMBER) == []


def test_list_prices_have_no_seats_and_cost_nothing() -> None:
    listed = plan(is_override=False, seats=0)
    assert build_month_rows([listed], NOVEMBER, until=LATER) == []


def test_own_terms_go_before_list_prices_which_tell_the_list_cost() -> None:
    listed = [
        plan(is_override=False, seats=0, price_per_seat=Decimal(30), ends=day_of_november(16)),
        plan(day_of_november(16), is_override=False, seats=0, price_per_seat=Decimal(25)),
    ]
    own = plan(price_per_seat=Decimal(20))
    rows = build_month_rows([*listed, own], NOVEMBER, until=LATER)
    assert costs(rows) == [100, 100]
    assert costs(rows, "list_cost") == [150, 125]
    assert all(row["price_is_override"] for row in rows)


def test_a_list_price_in_another_currency_is_no_list_cost() -> None:
    listed = plan(is_override=False, seats=0, price_per_seat=Decimal(99), currency="EUR")
    (row,) = build_month_rows([listed, plan()], NOVEMBER, until=LATER)
    assert (row["currency"], row["list_cost"]) == ("USD", row["cost"])


def test_currencies_and_plans_are_never_summed_together() -> None:
    plans = [
        plan(ends=day_of_november(16)),
        plan(day_of_november(16), currency="EUR"),
        plan(plan_name="chatgpt_pro", seats=1, price_per_seat=Decimal(200)),
        plan(billing_period="annual", price_per_seat=Decimal(360)),
    ]
    rows = build_month_rows(plans, NOVEMBER, until=LATER)
    found = {
        (row["plan_name"], row["billing_period"], row["currency"]): Decimal(row["cost"])
        for row in rows
    }
    assert found == {
        ("chatgpt_business", "monthly", "EUR"): 150,
        ("chatgpt_business", "monthly", "USD"): 150,
        ("chatgpt_business", "annual", "USD"): 300,
        ("chatgpt_pro", "monthly", "USD"): 200,
    }


@pytest.mark.parametrize(
    ("amount", "expected"),
    [
        (Fraction(1, 2 * 10**9), "0.000000001"),
        (Fraction(4, 10**10), "0.000000000"),
        (Fraction(2, 3), "0.666666667"),
        (Fraction(0), "0.000000000"),
    ],
)
def test_rounding_is_half_away_from_zero(amount: Fraction, expected: str) -> None:
    assert format(round_amount(amount), "f") == expected


PRICES = st.decimals(min_value=0, max_value=10**6, places=9)
MONTHS = st.dates(date(2024, 1, 1), date(2027, 12, 31)).map(lambda day: day.replace(day=1))


@st.composite
def cut_months(draw: st.DrawFn) -> tuple[date, list[SeatPlan]]:
    """A month, and own terms of one plan that follow one another in it."""
    month = draw(MONTHS)
    length = (next_month(month) - month).days
    starts = draw(st.sets(st.integers(1, length - 1), max_size=6))
    edges = [month - timedelta(days=3), *(month + timedelta(days=n) for n in sorted(starts))]
    ends = [*edges[1:], None]
    period = draw(st.sampled_from(["monthly", "annual"]))
    return month, [
        plan(
            begins,
            end,
            seats=draw(st.integers(0, 5000)),
            price_per_seat=draw(PRICES),
            billing_period=period,
        )
        for begins, end in zip(edges, ends, strict=True)
    ]


@settings(max_examples=150)
@given(cut_months())
def test_the_parts_sum_to_the_whole_rounded_once(cut: tuple[date, list[SeatPlan]]) -> None:
    month, plans = cut
    rows = build_month_rows(plans, month, until=LATER)
    length = (next_month(month) - month).days
    exact = Fraction(0)
    for number in range(length):
        day = month + timedelta(days=number)
        (applies,) = [one for one in plans if one.is_in_force(day)]
        months = 12 if applies.billing_period == "annual" else 1
        exact += Fraction(applies.price_per_seat) * applies.seats / months / length
    assert sum(costs(rows), Decimal(0)) == _once(exact)
    assert sum(row["days"] for row in rows) == sum(
        any(one.is_in_force(month + timedelta(days=n)) and one.seats for one in plans)
        for n in range(length)
    )
    assert all(amount >= 0 for amount in costs(rows))


@given(cut_months(), st.integers(0, 31))
def test_a_month_up_to_a_day_grows_into_the_whole(
    cut: tuple[date, list[SeatPlan]], elapsed: int
) -> None:
    month, plans = cut
    part = build_month_rows(plans, month, until=month + timedelta(days=elapsed))
    whole = build_month_rows(plans, month, until=LATER)
    assert sum(costs(part), Decimal(0)) <= sum(costs(whole), Decimal(0))
    assert [row["period_start"] for row in part] == [
        row["period_start"] for row in whole[: len(part)]
    ]


@given(cut_months())
def test_equal_parts_are_one_part(cut: tuple[date, list[SeatPlan]]) -> None:
    month, plans = cut
    rows = build_month_rows(plans, month, until=LATER)
    by_start: dict[str, int] = defaultdict(int)
    for row in rows:
        by_start[row["period_start"]] += 1
    assert set(by_start.values()) <= {1}
    assert len(rows) <= len(plans)


def _once(exact: Fraction) -> Decimal:
    scaled = Decimal(exact.numerator * 10**12 // exact.denominator).scaleb(-12)
    return scaled.quantize(Decimal("1e-9"), ROUND_HALF_UP)
