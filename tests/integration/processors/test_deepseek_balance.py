"""DeepSeek's balance from the stand-in, day after day, against what its account really did."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest

from convergence.errors import ProviderRejectedError
from convergence.processors.context import PipelineInfo, StepResult
from convergence.processors.deepseek.config import BalanceConfig
from convergence.processors.deepseek.observation import observe_balance
from convergence.settings import PROJECT_ROOT
from convergence_sandbox.providers.deepseek.account import currencies, spent, topped_up
from support.processor_env import OrgEnv
from support.sandbox_process import SandboxProcess
from support.vendors.recorded_api import recorded

DATA = PROJECT_ROOT / "tests" / "data" / "deepseek"
FACTS = PipelineInfo(
    pipeline_id="deepseek-balance",
    dag_id="deepseek.balance",
    provider="deepseek",
    history_days=0,
    settle_days=0,
)
CONFIG = BalanceConfig(source_view="deepseek/views/deepseek_balance_source.sql")
FIRST = date(2026, 10, 1)


class Account:
    """An org whose provider's clock goes with its own."""

    def __init__(self, org: OrgEnv, sandbox: SandboxProcess) -> None:
        self.org = org
        self._clock = f"{sandbox.providers}/_sandbox/clock"
        self.seed = f"{org.slug}-cny"
        org.env.keys[org.slug] = f"sk-deepseek-sandbox-{self.seed}"

    def run(self, *days: date, at: datetime | None = None, run_id: str = "") -> StepResult:
        """A run that is asked for the days, at midnight after the newest."""
        now = at or midnight(max(days) + timedelta(days=1))
        httpx.post(self._clock, json={"now": now.isoformat()}, trust_env=False).raise_for_status()
        context = self.org.at(now).context(
            list(days), run_id=run_id or f"run_{max(days)}", pipeline=FACTS
        )
        return observe_balance(context, CONFIG)

    def rows(self, day: date) -> dict[str, dict[str, Any]]:
        found = self.org.rows("deepseek_balance_daily", f"WHERE usage_date = '{day}'")
        return {row["currency"]: row for row in found}


@pytest.fixture
def account(org: OrgEnv, sandbox: SandboxProcess) -> Iterator[Account]:
    yield Account(org, sandbox)
    httpx.delete(f"{sandbox.providers}/_sandbox/clock", trust_env=False)


def midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def hundredths(value: int) -> Decimal:
    return Decimal(value) / 100


def test_what_is_inferred_is_what_the_account_did_top_ups_included(account: Account) -> None:
    later = (FIRST + timedelta(days=count) for count in range(3, 90))
    top_up = next(day for day in later if topped_up(account.seed, "USD", day))
    days = [top_up + timedelta(days=count) for count in range(-2, 3)]
    paid = 0
    for day in days:
        account.run(day)
    for day in days[1:]:
        for currency, row in account.rows(day).items():
            truth = topped_up(account.seed, currency, day)
            if spent(account.seed, currency, day) < 1_000:
                assert row["top_up"] == hundredths(truth)
                assert row["spend"] == hundredths(spent(account.seed, currency, day))
            assert (row["caveats"] is None) == (truth == 0)
            paid += truth
    assert set(account.rows(days[0])) == set(currencies(account.seed))
    assert {row["spend"] for row in account.rows(days[0]).values()} == {None}
    assert paid > 0


def test_a_day_is_observed_once_and_never_again(account: Account) -> None:
    account.run(FIRST)
    before = account.rows(FIRST)
    again = account.run(FIRST, at=midnight(FIRST + timedelta(days=1, hours=0)) + timedelta(hours=9))
    assert (again.details["days_kept"], again.rows_processed) == (1, 0)
    assert account.rows(FIRST) == before


def test_days_that_nobody_observed_are_empty_and_their_spend_comes_with_the_next(
    account: Account,
) -> None:
    account.run(FIRST)
    missed = [FIRST + timedelta(days=count) for count in (1, 2)]
    observed = FIRST + timedelta(days=3)
    result = account.run(*missed, observed)
    assert result.details["days_not_observed"] == [day.isoformat() for day in missed]
    assert [account.rows(day) for day in missed] == [{}, {}]
    row = account.rows(observed)["USD"]
    assert row["previous_observed_at"] == midnight(missed[0])
    truth = sum(spent(account.seed, "USD", day) for day in (*missed, observed))
    paid = sum(topped_up(account.seed, "USD", day) for day in (*missed, observed))
    assert row["spend"] - row["top_up"] == hundredths(truth - paid)


def test_spend_is_shown_in_cost_daily_for_its_very_period(account: Account) -> None:
    for day in (FIRST, FIRST + timedelta(days=1)):
        account.run(day)
    rows = account.org.rows("cost_daily_by_basis", "WHERE x_Provider = 'deepseek'")
    assert {row["BillingCurrency"] for row in rows} == set(currencies(account.seed))
    (usd,) = [row for row in rows if row["BillingCurrency"] == "USD"]
    told = account.rows(FIRST + timedelta(days=1))["USD"]
    assert (usd["BilledCost"], usd["ListCost"]) == (told["paid_spend"], told["spend"])
    assert usd["ChargePeriodStart"] == midnight(FIRST + timedelta(days=1))
    assert usd["ChargePeriodEnd"] == midnight(FIRST + timedelta(days=2))
    assert usd["x_Basis"] == "computed"


def test_the_recorded_balance_is_read_exactly(account: Account) -> None:
    with recorded({"/user/balance": [DATA / "user_balance.json"]}) as url:
        account.org = account.org.served_by(deepseek_base_url=url)
        account.run(FIRST)
    (row,) = account.rows(FIRST).values()
    assert (row["total_balance"], row["granted_balance"], row["topped_up_balance"]) == (
        110,
        10,
        100,
    )
    assert (row["currency"], row["is_available"]) == ("USD", True)


def test_a_refused_key_publishes_nothing(account: Account) -> None:
    account.org.env.keys[account.org.slug] = "sk-nobody-knows-this-key"
    with pytest.raises(ProviderRejectedError):
        account.run(FIRST)
    assert account.rows(FIRST) == {}
