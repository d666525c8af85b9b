"""Anthropic's steps on the stand-in's HTTP API: both generations, faults, and an oracle."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import httpx
import pytest
from genai_prices import Usage, calc_price

from convergence.errors import ProviderProtocolError, ProviderRejectedError
from convergence.processors.anthropic.config import BilledConfig, CostConfig, UsageConfig
from convergence.processors.anthropic.extraction import extract_billed, extract_usage
from convergence.processors.context import PipelineInfo, StepResult
from convergence.processors.generic.config import SeedCsvConfig
from convergence.processors.lib.pricing.price_seed import seed_prices
from convergence.processors.lib.pricing.pricing import price_usage
from support.processor_env import OrgEnv
from support.sandbox_process import SandboxProcess

DAYS = [date(2026, 11, day) for day in (16, 17, 18)]
FACTS = PipelineInfo(
    pipeline_id="anthropic-usage-cost", dag_id="anthropic.usage_cost", provider="anthropic"
)
SEED = SeedCsvConfig(
    table="anthropic_model_pricing",
    schema_file="anthropic/seed/schemas/anthropic_model_pricing.json",
    data_file="anthropic/seed/data/default_pricing.csv",
)
NANO = Decimal("1e-9")
APIS = ("analytics", "legacy")
PATHS = {"analytics": "organizations/analytics/", "legacy": "organizations/(usage_report|cost_)"}


class Connected:
    """An org with a key of the stand-in."""

    def __init__(self, org: OrgEnv, *, seed: str) -> None:
        self.org = org
        org.env.keys[org.slug] = f"sk-ant-admin-sandbox-{seed}"

    def run(self, api: str, *, days: list[date] = DAYS, run_id: str = "run_1") -> list[StepResult]:
        def context(step: str) -> Any:
            return self.org.context(days, step=step, run_id=run_id, pipeline=FACTS)

        seed_prices(context("seed"), SEED)
        return [
            extract_usage(context("usage"), UsageConfig.from_values({"api": api})),
            price_usage(context("cost"), CostConfig()),
            extract_billed(context("billed"), BilledConfig.from_values({"api": api})),
        ]

    def total(self, table: str, column: str, more: str = "") -> Decimal:
        return sum(
            (row[column] for row in self.org.rows(table, more) if row[column] is not None),
            Decimal(0),
        )


@pytest.fixture
def acme(org: OrgEnv) -> Connected:
    return Connected(org, seed="acme")


@pytest.fixture
def faults(sandbox: SandboxProcess) -> Iterator[str]:
    url = f"{sandbox.providers}/_sandbox/faults"
    yield url
    httpx.delete(url, trust_env=False)


def oracle(row: dict[str, Any]) -> Decimal:
    """Base-tier rates of another price book times the row's tokens, rounded once."""
    price = calc_price(
        Usage(input_tokens=1),
        model_ref=row["model"],
        provider_id="anthropic",
        genai_request_timestamp=datetime.combine(row["usage_date"], datetime.min.time(), UTC),
        price_context={"processing": "batch"} if row["service_tier"] == "batch" else None,
    ).model_price
    parts = (
        ("uncached_input_tokens", price.input_mtok),
        ("cache_read_input_tokens", price.cache_read_mtok),
        ("cache_write_5m_input_tokens", price.cache_write_mtok),
        ("cache_write_1h_input_tokens", price.cache_write_1h_mtok),
        ("output_tokens", price.output_mtok),
    )
    exact = sum(
        (row[name] * Decimal(str(getattr(rate, "base", rate))) for name, rate in parts), Decimal(0)
    )
    return (exact / 10**6).quantize(NANO, ROUND_HALF_UP)


@pytest.mark.parametrize("api", APIS)
def test_every_row_costs_what_another_price_book_says(acme: Connected, api: str) -> None:
    usage, cost, billed = acme.run(api)
    assert [one.details["days_published"] for one in (usage, cost, billed)] == [3, 3, 3]
    rows = acme.org.rows("anthropic_cost_daily", "WHERE cost_type = 'tokens'")
    assert rows
    for row in rows:
        assert row["effective_cost"] == row["list_cost"] == oracle(row)
    assert {row["service_tier"] for row in rows} == {"standard", "batch"}
    assert any(row["cache_write_1h_input_tokens"] for row in rows)


@pytest.mark.parametrize("api", APIS)
def test_the_bill_is_computed_cost_and_code_execution(acme: Connected, api: str) -> None:
    acme.run(api)
    by_type: dict[str, Decimal] = defaultdict(Decimal)
    for row in acme.org.rows("anthropic_billed_daily"):
        by_type[row["cost_type"]] += row["billed_cost"]
    for kind in ("tokens", "web_search"):
        computed = acme.total(
            "anthropic_cost_daily", "effective_cost", f"WHERE cost_type = '{kind}'"
        )
        assert computed == by_type[kind] > 0
    assert by_type["code_execution"] > 0


def test_both_generations_bill_the_same(acme: Connected) -> None:
    acme.run("analytics")
    new = acme.total("anthropic_billed_daily", "billed_cost")
    acme.run("legacy", run_id="run_2")
    assert acme.total("anthropic_billed_daily", "billed_cost") == new
    assert {row["api"] for row in acme.org.rows("anthropic_billed_daily")} == {"legacy"}


def test_a_discount_is_in_the_bill_and_not_in_the_list(org: OrgEnv) -> None:
    one = Connected(org, seed="discount_co")
    one.run("analytics")
    computed = one.total("anthropic_cost_daily", "effective_cost", "WHERE cost_type = 'tokens'")
    tokens = "WHERE cost_type = 'tokens'"
    assert one.total("anthropic_billed_daily", "list_cost", tokens) == computed
    billed = one.total("anthropic_billed_daily", "billed_cost", tokens)
    # Each row is rounded on its own.
    assert abs(billed - computed * Decimal("0.95")) < NANO * 1000
    assert billed < computed


def test_usage_without_a_public_price_is_listed_with_its_reason(org: OrgEnv) -> None:
    one = Connected(org, seed="unpriced_priority")
    _, cost, _ = one.run("analytics")
    reasons = {(line["model"], line["reason"]) for line in cost.details["unpriced"]}
    assert reasons == {
        ("claude-haiku-4-5-20251001", "priority_tier"),
        ("claude-sandbox-preview-20251001", "no_price"),
    }
    unpriced = one.org.rows("anthropic_cost_daily", "WHERE pricing_status = 'UNPRICED'")
    assert {row["effective_cost"] for row in unpriced} == {None}


def test_long_context_has_its_own_rates_while_it_had_them(org: OrgEnv) -> None:
    one = Connected(org, seed="acme")
    one.run("legacy", days=[date(2026, 4, 28), date(2026, 4, 29)])
    rows = one.org.rows("anthropic_cost_daily", "WHERE cost_type = 'tokens'")
    windows = {row["price_context_window"] for row in rows if "sonnet-4-5" in row["model"]}
    assert windows == {"any", "200k-1M"}
    billed = one.total("anthropic_billed_daily", "billed_cost", "WHERE cost_type = 'tokens'")
    assert billed == sum(row["effective_cost"] for row in rows)


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("kind", ["duplicate_rows", "type_drift", "null_page", "malformed"])
def test_a_broken_answer_is_a_named_failure_and_publishes_nothing(
    acme: Connected, faults: str, api: str, kind: str
) -> None:
    fault = {"kind": kind, "path": PATHS[api], "count": None}
    httpx.post(faults, json=fault, trust_env=False).raise_for_status()
    with pytest.raises(ProviderProtocolError):
        acme.run(api)
    assert acme.org.rows("anthropic_usage_daily_raw", "WHERE usage_date > '2000-01-01'") == []


@pytest.mark.parametrize("api", APIS)
def test_a_refused_key_fails_for_good(acme: Connected, api: str) -> None:
    acme.org.env.keys[acme.org.slug] = "sk-ant-admin-nobody-knows"
    with pytest.raises(ProviderRejectedError):
        acme.run(api)


def test_a_field_that_nobody_documented_is_kept(acme: Connected, faults: str) -> None:
    fault = {"kind": "new_field", "path": "analytics/usage", "count": None}
    httpx.post(faults, json=fault, trust_env=False).raise_for_status()
    acme.run("analytics")
    rows = acme.org.rows("anthropic_usage_daily_raw", "WHERE usage_date > '2000-01-01'")
    assert all(row["extra"]["x_sandbox_new"]["level"] == 3 for row in rows)


def test_no_days_ask_nothing(acme: Connected) -> None:
    assert [one.status for one in acme.run("analytics", days=[])] == ["SKIPPED"] * 3
