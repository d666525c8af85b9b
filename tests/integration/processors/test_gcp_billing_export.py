"""`gcp.bq_etl` and `gcp.billing_cost` with real clients: the customer's export to the org's cost."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest

from convergence.processors.context import PipelineFacts, StepResult
from convergence.processors.gcp.billing_export import copy_export
from convergence.processors.gcp.config import BillingCostConfig, BqEtlConfig
from convergence.processors.gcp.cost_days import sum_costs
from gcp_customer import Customer, golden_rows, golden_totals
from processors_world import OrgWorld
from sandbox_process import SandboxProcess

BILLING = PipelineFacts(
    pipeline_id="gcp-cost-billing", dag_id="gcp.cost.billing", provider="gcp", settle_days=5
)
COST = BillingCostConfig(source_view="gcp/cost/views/gcp_billing_source.sql")
DAYS = [date(2026, 11, day) for day in range(16, 21)]


@pytest.fixture
def customer(sandbox: SandboxProcess) -> Customer:
    return Customer(sandbox, f"t{uuid4().hex[:10]}")


@pytest.fixture
def account(org: OrgWorld, customer: Customer) -> OrgWorld:
    customer.connect(org)
    return org


def run(
    org: OrgWorld,
    *,
    days: Sequence[date] = DAYS,
    run_id: str = "run_1",
    config: BqEtlConfig | None = None,
    **params: str,
) -> tuple[StepResult, StepResult]:
    """Both steps, as the pipeline has them."""
    context = replace(
        org.context(days, run_id=run_id, step="extract_billing", pipeline=BILLING), params=params
    )
    copied = copy_export(context, config or BqEtlConfig())
    return copied, sum_costs(replace(context, step="transform_cost"), COST)


def sums(rows: Sequence[dict[str, Any]], key: str, amount: str = "net_cost") -> dict[str, Decimal]:
    found: dict[str, Decimal] = defaultdict(Decimal)
    for row in rows:
        found[str(row[key])] += row[amount]
    return dict(found)


def decimals(told: dict[str, str]) -> dict[str, Decimal]:
    return {name: Decimal(text) for name, text in told.items()}


def test_the_recorded_export_comes_to_its_totals(account: OrgWorld, customer: Customer) -> None:
    customer.export(golden_rows())
    copied, summed = run(account, config=BqEtlConfig(overlap_days=30))
    expected = golden_totals()

    assert len(account.rows("gcp_billing_daily_raw")) == expected["row_count"]
    rows = account.rows("billing_cost_daily")
    assert sum(row["net_cost"] for row in rows) == Decimal(expected["net_total"])
    assert summed.facts["net_cost"] == {"USD": expected["net_total"]}
    assert sums(rows, "usage_date") == decimals(expected["net_by_usage_day_utc"])
    assert sums(rows, "usage_date_pacific") == decimals(expected["net_by_usage_day_us_pacific"])
    assert sums(rows, "invoice_month") == decimals(expected["net_by_invoice_month"])
    assert sums(rows, "cost_type", "cost") == decimals(expected["gross_by_cost_type"])
    projects = {"(no project)": "None"} | {"acme-ml": "acme-ml", "acme-prod": "acme-prod"}
    named = {projects[name]: total for name, total in expected["net_by_project"].items()}
    assert sums(rows, "project_id") == decimals(named)
