"""Anthropic's documented answers, of both generations, from HTTP to exact totals."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from convergence.processors.anthropic.config import BilledConfig, CostConfig, UsageConfig
from convergence.processors.anthropic.extraction import extract_billed, extract_usage
from convergence.processors.context import PipelineInfo, StepResult
from convergence.processors.costs.config import AuthoritativeConfig, ReconciliationConfig
from convergence.processors.costs.publishing import publish_streams
from convergence.processors.costs.reconciling import reconcile_streams
from convergence.processors.generic.config import SeedCsvConfig
from convergence.processors.lib.pricing.price_seed import seed_prices
from convergence.processors.lib.pricing.pricing import price_usage
from convergence.settings import PROJECT_ROOT
from support.costs.streams import sum_reasons
from support.processor_env import OrgEnv, ProcessorEnv
from support.vendors.recorded_api import recorded

DATA = PROJECT_ROOT / "tests" / "data" / "anthropic"
EXPECTED = json.loads((DATA / "expected_totals.json").read_text())
DAY = date(2026, 11, 17)
DAYS = [DAY, date(2026, 11, 18)]
FACTS = PipelineInfo(
    pipeline_id="anthropic-usage-cost", dag_id="anthropic.usage_cost", provider="anthropic"
)
SEED = SeedCsvConfig(
    table="anthropic_model_pricing",
    schema_file="anthropic/seed/schemas/anthropic_model_pricing.json",
    data_file="anthropic/seed/data/default_pricing.csv",
)
SOURCES = "anthropic/cost/views"
COST = CostConfig(source_view=f"{SOURCES}/anthropic_cost_source.sql")
PAGES = {
    "/v1/organizations/usage_report/messages": [
        DATA / "usage_report_messages_page1.json",
        DATA / "usage_report_messages_page2.json",
    ],
    "/v1/organizations/cost_report": [DATA / "cost_report.json"],
    "/v1/organizations/analytics/usage": [DATA / "analytics_usage.json"],
    "/v1/organizations/analytics/cost": [DATA / "analytics_cost.json"],
}


class Ran:
    """An org after the steps of one generation."""

    def __init__(self, org: OrgEnv, api: str) -> None:
        self.org = org
        self.seeded = seed_prices(self.context("seed"), SEED)
        self.usage = extract_usage(self.context("usage"), UsageConfig.from_values({"api": api}))
        self.cost = price_usage(self.context("cost"), COST)
        self.billed = extract_billed(
            self.context("billed"),
            BilledConfig.from_values(
                {"api": api, "source_view": f"{SOURCES}/anthropic_billed_source.sql"}
            ),
        )

    def compare(self) -> dict[str, Decimal]:
        """Return why the bill and the computed cost of the first day differ."""
        streams = ("anthropic/api",)
        publish_streams(self.context("publish"), AuthoritativeConfig(streams=streams))
        reconcile_streams(self.context("reconcile"), ReconciliationConfig(streams=streams))
        rows = self.org.rows("cost_reconciliation_daily", f"WHERE usage_date = '{DAY}'")
        return sum_reasons(rows)

    def context(self, step: str, *, run_id: str = "run_1") -> Any:
        return self.org.context(DAYS, step=step, run_id=run_id, pipeline=FACTS)


def ran(env: ProcessorEnv, api: str) -> Iterator[Ran]:
    with recorded(PAGES) as url:
        org = env.new_org().served_by(anthropic_base_url=url)
        org.env.keys[org.slug] = "sk-ant-admin-recorded"
        yield Ran(org, api)


@pytest.fixture(scope="module")
def legacy(env: ProcessorEnv) -> Iterator[Ran]:
    yield from ran(env, "legacy")


@pytest.fixture(scope="module")
def analytics(env: ProcessorEnv) -> Iterator[Ran]:
    yield from ran(env, "analytics")


def total(rows: list[dict[str, Any]], column: str) -> Decimal:
    return sum((row[column] for row in rows if row[column] is not None), Decimal(0))


def test_the_older_reports_come_to_their_exact_totals(legacy: Ran) -> None:
    billed = legacy.org.rows("anthropic_billed_daily")
    assert total(billed, "billed_cost") == Decimal(EXPECTED["billed_usd"]) == Decimal("24.72345")
    assert {row["list_cost"] for row in billed} == {None}
    assert len(billed) == 11
    cost = legacy.org.rows("anthropic_cost_daily")
    assert total(cost, "effective_cost") == Decimal("24.60")
    by_sku = {
        (row["model"] if row["cost_type"] == "tokens" else "web_search"): row["effective_cost"]
        for row in cost
    }
    expected = {name: Decimal(value) for name, value in EXPECTED["computed_usd"].items()}
    assert by_sku == {
        "claude-opus-4-5-20251101": expected["opus"],
        "claude-sonnet-4-5-20250929": expected["sonnet_batch"],
        "claude-haiku-4-5-20251001": expected["haiku"],
        "web_search": expected["web_search"],
    }


def test_what_the_bill_has_more_than_usage_explains_is_code_execution(legacy: Ran) -> None:
    billed = legacy.org.rows("anthropic_billed_daily")
    gap = total(billed, "billed_cost") - total(
        legacy.org.rows("anthropic_cost_daily"), "effective_cost"
    )
    code = [row["billed_cost"] for row in billed if row["cost_type"] == "code_execution"]
    assert [gap] == code == [Decimal("0.12345")]
    assert legacy.compare() == {"no_meter": Decimal("0.12345")}


def test_a_discount_and_what_is_not_billed_are_two_reasons(analytics: Ran) -> None:
    reasons = analytics.compare()
    assert sum(reasons.values()) == Decimal("17.03595") - Decimal("24.5")
    assert reasons["contract_discount"] == Decimal("17.03595") - Decimal("17.87345")
    assert reasons["no_meter"] == Decimal("0.12345")
    # The recorded bill covers one model and the tools.
    assert set(reasons) == {"contract_discount", "no_meter", "bill_missing"}


def test_the_analytics_come_to_their_exact_totals_at_cost_and_at_list(analytics: Ran) -> None:
    billed = analytics.org.rows("anthropic_billed_daily")
    assert total(billed, "billed_cost") == Decimal(EXPECTED["analytics_amount_usd"])
    assert total(billed, "list_cost") == Decimal(EXPECTED["analytics_list_usd"])
    assert (total(billed, "billed_cost"), total(billed, "list_cost")) == (
        Decimal("17.03595"),
        Decimal("17.87345"),
    )
    cost = analytics.org.rows("anthropic_cost_daily")
    assert total(cost, "effective_cost") == Decimal("24.50")


@pytest.mark.parametrize("generation", ["legacy", "analytics"])
def test_a_day_without_usage_is_published_without_rows(
    generation: str, request: pytest.FixtureRequest
) -> None:
    one: Ran = request.getfixturevalue(generation)
    for result in (one.usage, one.cost, one.billed):
        assert result.details["days_published"] == 2
    assert one.cost.details["unpriced_rows"] == 0
    for table in ("anthropic_cost_daily", "anthropic_billed_daily"):
        assert {row["usage_date"] for row in one.org.rows(table)} == {DAY}


def test_the_ledger_has_the_bills_total_by_currency_and_basis(legacy: Ran) -> None:
    latest = legacy.org.env.services.ledger.read_latest(
        orgs=[legacy.org.slug], pipeline_id=FACTS.pipeline_id, since=DAY
    )
    totals = {key.table: row.totals for key, row in latest.items() if key.day == DAY}
    (money,) = totals["anthropic_billed_daily"]
    assert (money.currency, money.basis, money.amount) == ("USD", "billed", Decimal("24.72345"))
    (money,) = totals["anthropic_cost_daily"]
    assert (money.basis, money.amount) == ("computed", Decimal("24.6"))


def test_cost_daily_shows_both_bases_of_an_org_that_is_older_than_the_tables(legacy: Ran) -> None:
    rows = legacy.org.rows("cost_daily_by_basis", "WHERE x_Provider = 'anthropic'")
    sums = {
        basis: total([row for row in rows if row["x_Basis"] == basis], "EffectiveCost")
        for basis in ("computed", "billed")
    }
    assert sums == {"computed": Decimal("24.6"), "billed": Decimal("24.72345")}
    assert {row["BillingCurrency"] for row in rows} == {"USD"}
    assert {row["SubAccountId"] for row in rows} == {
        "default",
        "wrkspc_01JwQvzr7rXLA5AGx3HKfFUJ",
    }


def test_list_and_discounted_cost_stand_side_by_side_in_cost_daily(analytics: Ran) -> None:
    rows = analytics.org.rows("cost_daily_by_basis", "WHERE x_Basis = 'billed'")
    assert total(rows, "BilledCost") == Decimal("17.03595")
    assert total(rows, "ListCost") == Decimal("17.87345")


def test_each_cost_names_its_price_and_the_price_its_public_source(legacy: Ran) -> None:
    rows = legacy.org.rows("anthropic_cost_daily")
    assert {row["pricing_status"] for row in rows} == {"PRICED"}
    by_model = {row["price_model_id"]: row for row in rows}
    assert set(by_model) == {
        *("claude-opus-4-5", "claude-sonnet-4-5", "claude-haiku-4-5", "web_search")
    }
    assert by_model["claude-sonnet-4-5"]["priced_tier"] == "batch"
    assert by_model["claude-opus-4-5"]["price_match"] == "undated"
    assert all(row["price_source_url"].startswith("https://platform.claude.com") for row in rows)


@pytest.mark.parametrize("generation", ["legacy", "analytics"])
def test_running_again_publishes_nothing(generation: str, request: pytest.FixtureRequest) -> None:
    one: Ran = request.getfixturevalue(generation)
    again: list[StepResult] = [
        extract_usage(
            one.context("usage", run_id="run_2"), UsageConfig.from_values({"api": generation})
        ),
        price_usage(one.context("cost", run_id="run_2"), COST),
        extract_billed(
            one.context("billed", run_id="run_2"), BilledConfig.from_values({"api": generation})
        ),
    ]
    assert [result.details["days_published"] for result in again] == [0, 0, 0]
    assert seed_prices(one.context("seed"), SEED).rows_processed == 0


def test_anthropics_cost_follows_prices_there_and_back(env: ProcessorEnv) -> None:
    with recorded(PAGES) as url:
        org = env.new_org().served_by(anthropic_base_url=url)
        org.env.keys[org.slug] = "sk-ant-admin-recorded"

        def context(run_id: str, *, attempt: int = 1) -> Any:
            return org.context(DAYS, run_id=run_id, attempt=attempt, pipeline=FACTS)

        seed_prices(context("run_0"), SEED)
        extract_usage(context("run_0"), UsageConfig.from_values({"api": "legacy"}))
        told: list[tuple[int, str]] = []
        for factor in (1, 2, "0.5"):
            org.env.ask(
                f"UPDATE {org.table('anthropic_model_pricing')} SET"
                f" output_per_million = output_per_million * {factor} WHERE TRUE"
            )
            result = price_usage(context("run_1", attempt=len(told) + 1), COST)
            told.append((result.details["days_published"], result.details["effective_cost"]["USD"]))
        again = price_usage(context("run_1", attempt=4), COST)
    assert [published for published, _ in told] == [2, 2, 2]
    assert told[0][1] == told[2][1] != told[1][1]
    assert (again.details["days_published"], again.details["days_unchanged"]) == (0, 2)
