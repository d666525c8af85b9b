"""DeepSeek's balances as public reports describe them, from HTTP to the table.

A test's name names its report: `codexbar873` is issue 873 of steipete/CodexBar.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from convergence.processors.context import PipelineInfo
from convergence.processors.deepseek.config import BalanceConfig
from convergence.processors.deepseek.observation import observe_balance
from convergence.runs.ledger import Action
from support.processor_env import OrgEnv, ProcessorEnv
from support.vendors.llm_responses import write_page
from support.vendors.recorded_api import recorded

BALANCE = PipelineInfo(
    pipeline_id="deepseek-balance",
    dag_id="deepseek.balance",
    provider="deepseek",
    history_days=0,
    settle_days=0,
)
CONFIG = BalanceConfig(source_view="deepseek/views/deepseek_balance_source.sql")
FIRST_DAY = date(2026, 11, 16)
SECOND_DAY = "2026-11-17"

Balance = dict[str, str]
Rows = dict[tuple[str, str], dict[str, Any]]


def build_balance(
    currency: str, total: str, granted: str = "0.00", paid: str | None = None
) -> Balance:
    return {
        "currency": currency,
        "total_balance": total,
        "granted_balance": granted,
        "topped_up_balance": total if paid is None else paid,
    }


def observe_days(
    env: ProcessorEnv, folder: Path, *days: Sequence[Balance], org: OrgEnv | None = None
) -> Rows:
    """Observe one response per day; the rows by day and currency."""
    org = org or env.new_org()
    org.env.keys[org.slug] = "sk-x"
    for number, balances in enumerate(days):
        day = FIRST_DAY + timedelta(days=number)
        page = write_page(folder, {"is_available": True, "balance_infos": list(balances)})
        now = datetime.combine(day + timedelta(days=1), time(0, 5), UTC)
        with recorded({"/user/balance": [page]}) as url:
            at = org.served_by(deepseek_base_url=url).at(now)
            observe_balance(at.context([day], run_id=f"run_{number}", pipeline=BALANCE), CONFIG)
    rows = org.rows("deepseek_balance_daily")
    return {(str(row["usage_date"]), row["currency"]): row for row in rows}


def test_codexbar873_currencies_are_told_apart_in_any_order(
    env: ProcessorEnv, tmp_path: Path
) -> None:
    rows = observe_days(
        env,
        tmp_path,
        [build_balance("USD", "0.00"), build_balance("CNY", "100.00")],
        [build_balance("CNY", "71.46"), build_balance("USD", "0.00")],
    )
    assert rows[SECOND_DAY, "CNY"]["spend"] == Decimal("28.54")
    assert rows[SECOND_DAY, "USD"]["spend"] == 0


def test_newapi5879_an_account_may_have_one_currency(env: ProcessorEnv, tmp_path: Path) -> None:
    rows = observe_days(
        env, tmp_path, [build_balance("USD", "10.00")], [build_balance("USD", "9.99")]
    )
    assert rows[SECOND_DAY, "USD"]["spend"] == Decimal("0.01")


def test_wssfk_an_empty_list_says_nothing_of_a_balance(env: ProcessorEnv, tmp_path: Path) -> None:
    rows = observe_days(env, tmp_path, [build_balance("CNY", "81.69")], [])
    second = rows.get((SECOND_DAY, "CNY"))
    assert second is None or second["spend"] is None


def test_a_day_whose_list_is_empty_is_not_observable_and_its_spend_comes_later(
    env: ProcessorEnv, tmp_path: Path
) -> None:
    org = env.new_org()
    rows = observe_days(
        env, tmp_path, [build_balance("CNY", "81.69")], [], [build_balance("CNY", "80.00")], org=org
    )
    ends = env.services.ledger.read_ends(
        {Action.NOT_OBSERVABLE}, orgs=[org.slug], pipeline_id=BALANCE.pipeline_id
    )
    assert [str(key.day) for key in ends] == [SECOND_DAY]
    third = rows["2026-11-18", "CNY"]
    assert third["spend"] == Decimal("1.69")
    assert third["previous_observed_at"] == rows["2026-11-16", "CNY"]["observed_at"]


def test_a_currency_that_is_not_stated_is_not_spent(env: ProcessorEnv, tmp_path: Path) -> None:
    rows = observe_days(
        env,
        tmp_path,
        [build_balance("CNY", "81.69"), build_balance("USD", "5.00")],
        [build_balance("USD", "4.00")],
        [build_balance("USD", "4.00"), build_balance("CNY", "80.69")],
    )
    assert (SECOND_DAY, "CNY") not in rows
    assert rows[SECOND_DAY, "USD"]["spend"] == 1
    assert rows["2026-11-18", "CNY"]["spend"] == 1


def test_a_grant_that_expires_is_no_certain_usage(env: ProcessorEnv, tmp_path: Path) -> None:
    """A grant of 5 ends while nothing is paid."""
    rows = observe_days(
        env,
        tmp_path,
        [build_balance("USD", "15.00", "5.00", "10.00")],
        [build_balance("USD", "10.00", "0.00", "10.00")],
    )
    second = rows[SECOND_DAY, "USD"]
    assert second["paid_spend"] == 0
    assert second["spend"] == 0 or second["caveats"]
