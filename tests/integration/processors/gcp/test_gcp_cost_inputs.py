"""Google Cloud's daily cost follows the copied rows: equal rows are done, earlier ones are not."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from convergence.errors import InputNotAsRecordedError
from convergence.processors.gcp.cost_days import sum_costs
from convergence.processors.lib.daily import slices
from convergence.processors.lib.daily.day_source import DayContent, DaySource
from convergence.processors.lib.daily.slices import publish_content
from convergence.runs.ledger import Action, LedgerRow
from convergence.runs.slices import SliceKey
from support.processor_env import OrgEnv
from support.vendors.gcp_customer import Customer, golden_rows
from support.vendors.gcp_steps import BILLING, COST, DAYS, run_steps


class Bill:
    """One day of an org's bill, and what was copied of it."""

    def __init__(self, org: OrgEnv, customer: Customer) -> None:
        self.org = org
        self._customer = customer
        self.copies: list[tuple[DaySource, DayContent]] = []

    def copy(self, row: dict[str, Any]) -> None:
        self._customer.export([row])
        run_steps(self.org, run_id=f"run_{len(self.copies)}")

    def copy_again(self, number: int) -> None:
        """Publish what an earlier copy had, also where it is less."""
        source, content = self.copies[number]
        context = self.org.context(DAYS, run_id="run_again", pipeline=BILLING)
        day = str(self.day)
        accepted = {"start_date": day, "end_date": day, "reason": "a test"}
        context = replace(context, params={"accept_shrink": accepted})
        (attempt,) = context.publisher.begin_attempts([self.key("gcp_billing_daily_raw")]).values()
        publish_content(context, source, attempt, content)

    def sum(self, *, run_id: str, attempt: int = 1) -> None:
        context = self.org.context(
            [self.day], run_id=run_id, step="transform_cost", attempt=attempt, pipeline=BILLING
        )
        sum_costs(replace(context, params={"date": str(self.day)}), COST)

    @property
    def day(self) -> date:
        return date.fromisoformat(golden_rows()[0]["usage_start_time"][:10])

    def key(self, table: str) -> SliceKey:
        return SliceKey(self.org.slug, BILLING.pipeline_id, table, self.day)

    @property
    def ledger(self) -> LedgerRow:
        latest = self.org.env.services.ledger.read_latest(
            orgs=[self.org.slug], pipeline_id=BILLING.pipeline_id
        )
        return latest[self.key("billing_cost_daily")]

    @property
    def cost(self) -> Decimal:
        rows = self.org.rows("billing_cost_daily", f"WHERE usage_date = '{self.day}'")
        return sum((row["cost"] for row in rows), Decimal(0))


@pytest.fixture
def bill(account: OrgEnv, customer: Customer, monkeypatch: pytest.MonkeyPatch) -> Bill:
    made = Bill(account, customer)

    def kept(org: Any, source: DaySource, attempt: Any, content: DayContent) -> LedgerRow:
        if source.table == "gcp_billing_daily_raw" and attempt.key.day == made.day:
            made.copies.append((source, content))
        return publish_content(org, source, attempt, content)

    monkeypatch.setattr(slices, "publish_content", kept)
    return made


def test_equal_rows_are_done_and_earlier_ones_are_summed_again(bill: Bill) -> None:
    row = golden_rows()[0]
    bill.copy(row)
    once = bill.cost
    bill.copy(row)
    assert bill.cost == 2 * once != 0
    bill.copy_again(0)
    bill.sum(run_id="run_1", attempt=2)
    assert (bill.cost, bill.ledger.action) == (once, Action.PUBLISHED)
    bill.sum(run_id="run_1", attempt=3)
    assert bill.ledger.action is Action.UNCHANGED


def test_rows_that_are_not_as_recorded_are_not_summed(bill: Bill) -> None:
    bill.copy(golden_rows()[0])
    once = bill.cost
    raw = bill.org.table("gcp_billing_daily_raw")
    bill.org.env.ask(f"UPDATE {raw} SET cost = cost + 1 WHERE usage_date = '{bill.day}'")
    with pytest.raises(InputNotAsRecordedError):
        bill.sum(run_id="run_x")
    assert bill.cost == once
