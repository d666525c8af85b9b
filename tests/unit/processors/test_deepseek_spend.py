from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convergence.errors import ProviderProtocolError
from convergence.extract.paginate import PageResponse
from convergence.processors.deepseek.config import BalanceConfig
from convergence.processors.deepseek.observation import BalancePage
from convergence.processors.deepseek.spend import (
    Balance,
    EarlierBalance,
    Observation,
    build_rows,
    earlier_from_rows,
    infer_change,
)

NOW = datetime(2026, 11, 18, 0, 5, tzinfo=UTC)
STEP = Decimal(10)
CENTS = st.integers(0, 10**7).map(lambda value: Decimal(value) / 100)


def build_balance(granted: str, topped_up: str, *, currency: str = "USD") -> Balance:
    parts = Decimal(granted), Decimal(topped_up)
    return Balance(currency, *parts, total=sum(parts, Decimal(0)))


def seen(*balances: Balance, at: datetime = NOW) -> Observation:
    return Observation(at, {one.currency: one for one in balances}, is_available=True)


def test_a_balance_that_fell_was_spent() -> None:
    found = infer_change(build_balance("0", "100"), build_balance("0", "96.60"), top_up_step=STEP)
    assert (found.paid_spend, found.paid_in, found.caveats) == (Decimal("3.4"), Decimal(0), ())


def test_granted_money_is_told_from_paid_money() -> None:
    found = infer_change(build_balance("5", "100"), build_balance("0", "98"), top_up_step=STEP)
    assert (found.granted_spend, found.paid_spend, found.spend) == (
        Decimal(5),
        Decimal(2),
        Decimal(7),
    )
    assert found.caveats == ("grant_expiry_possible",)


def test_a_top_up_is_no_negative_spend_and_is_said_to_be_estimated() -> None:
    found = infer_change(build_balance("0", "20"), build_balance("0", "116.60"), top_up_step=STEP)
    assert (found.paid_in, found.paid_spend) == (Decimal(100), Decimal("3.4"))
    assert found.caveats == ("top_up_estimated",)


def test_a_new_grant_is_income_too() -> None:
    found = infer_change(build_balance("0", "20"), build_balance("10", "18"), top_up_step=STEP)
    assert (found.grant, found.granted_spend, found.paid_spend) == (
        Decimal(10),
        Decimal(0),
        Decimal(2),
    )
    assert found.caveats == ("grant_estimated",)


@given(CENTS, CENTS, CENTS, CENTS)
def test_nothing_is_lost_whatever_happened(a: Decimal, b: Decimal, c: Decimal, d: Decimal) -> None:
    before, after = build_balance(str(a), str(b)), build_balance(str(c), str(d))
    found = infer_change(before, after, top_up_step=STEP)
    assert min(found.paid_in, found.paid_spend, found.grant, found.granted_spend) >= 0
    assert after.total == before.total + found.paid_in + found.grant - found.spend
    assert found.paid_in % STEP == 0


@given(
    st.integers(0, 50).map(lambda count: count * STEP),
    st.integers(0, 999).map(lambda value: Decimal(value) / 100),
)
def test_spend_below_the_step_is_found_exactly_across_a_top_up(
    top_up: Decimal, spent: Decimal
) -> None:
    before = build_balance("0", "50")
    after = build_balance("0", str(before.topped_up + top_up - spent))
    assert infer_change(before, after, top_up_step=STEP).paid_spend == spent


def test_the_first_observation_has_no_spend_rather_than_none_to_pay() -> None:
    (row,) = build_rows({}, seen(build_balance("10", "100")), day="2026-11-17", top_up_step=STEP)
    assert row["spend"] is row["paid_spend"] is row["previous_observed_at"] is None
    assert row["total_balance"] == 110


def test_a_currency_that_is_not_stated_is_unknown_and_none_mixes() -> None:
    """EUR is not stated: no row. CNY is stated for the first time: no spend."""
    before = {
        one.currency: one
        for one in (build_balance("0", "30"), build_balance("0", "7", currency="EUR"))
    }
    earlier = {name: EarlierBalance(one, NOW - timedelta(days=1)) for name, one in before.items()}
    now = seen(build_balance("0", "28"), build_balance("0", "500", currency="CNY"))
    found = {
        row["currency"]: row for row in build_rows(earlier, now, day="2026-11-17", top_up_step=STEP)
    }
    assert {name: (row["paid_spend"], row["top_up"]) for name, row in found.items()} == {
        "USD": (2, 0),
        "CNY": (None, None),
    }


def test_balances_read_back_from_their_rows() -> None:
    observed = seen(build_balance("10", "100"), build_balance("0", "3", currency="CNY"))
    rows = list(build_rows({}, observed, day="2026-11-17", top_up_step=STEP))
    assert earlier_from_rows(rows) == {
        name: EarlierBalance(one, NOW) for name, one in observed.balances.items()
    }
    assert earlier_from_rows([]) == {}


GOOD = {
    "currency": "USD",
    "total_balance": "110.00",
    "granted_balance": "10.00",
    "topped_up_balance": "100.00",
}


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        {},
        {"is_available": True},
        {"is_available": "yes", "balance_infos": []},
        {"is_available": True, "balance_infos": [GOOD | {"total_balance": "1e400000000000"}]},
        {"is_available": True, "balance_infos": [GOOD | {"total_balance": "NaN"}]},
        {"is_available": True, "balance_infos": [GOOD | {"total_balance": None}]},
        {"is_available": True, "balance_infos": [GOOD | {"total_balance": "109.99"}]},
        {"is_available": True, "balance_infos": [GOOD | {"currency": None}]},
        {"is_available": True, "balance_infos": ["USD"]},
    ],
)
def test_an_answer_that_is_no_balance_is_refused(body: object) -> None:
    with pytest.raises(ProviderProtocolError):
        BalancePage().read_page(PageResponse(body), token=None)


@pytest.mark.parametrize("step", [0, -1, "10", 1.5])
def test_a_top_up_step_is_a_positive_whole_amount(step: object) -> None:
    with pytest.raises(ValueError, match="top_up_step"):
        BalanceConfig.from_values({"top_up_step": step})
