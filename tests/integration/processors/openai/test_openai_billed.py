"""OpenAI's own bill, and pricing usage once more, with everything real in between."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from decimal import Decimal

import httpx
import pytest

from convergence.errors import ProviderProtocolError
from convergence.processors.context import PipelineInfo
from convergence.processors.lib.pricing.price_seed import seed_prices
from convergence.processors.lib.pricing.pricing import price_usage
from convergence.processors.openai.config import (
    GROUPABLE,
    BilledConfig,
    CostConfig,
    SeedCsvConfig,
    UsageConfig,
)
from convergence.processors.openai.extraction import extract_billed, extract_usage
from convergence.settings import PROJECT_ROOT
from support.processor_env import OrgEnv
from support.sandbox_process import SandboxProcess
from support.vendors.recorded_api import recorded

COSTS = PROJECT_ROOT / "tests" / "data" / "openai" / "costs_line_item.json"
DAYS = [date(2026, 11, day) for day in (17, 18, 19)]
FACTS = PipelineInfo(
    pipeline_id="openai-cost-extract", dag_id="openai.cost.cost_extract", provider="openai"
)
AGAIN = PipelineInfo(
    pipeline_id="openai-cost-calculation",
    dag_id="openai.cost.cost_calculation",
    provider="openai",
)
BILLED = BilledConfig(source_view="openai/cost/views/openai_billed_source.sql")
REPRICE = CostConfig(slices_of="openai-usage-cost")


@pytest.fixture
def connected(org: OrgEnv) -> OrgEnv:
    org.env.keys[org.slug] = f"sk-admin-sandbox-{org.slug}"
    return org


@pytest.fixture
def faults(sandbox: SandboxProcess) -> Iterator[str]:
    url = f"{sandbox.providers}/_sandbox/faults"
    yield url
    httpx.delete(url, trust_env=False)


def test_the_recorded_bill_comes_to_its_exact_total(connected: OrgEnv) -> None:
    with recorded({"/organization/costs": [COSTS]}) as url:
        org = connected.served_by(openai_base_url=url)
        result = extract_billed(org.context(DAYS, pipeline=FACTS), BILLED)
    assert result.details["days_published"] == 3
    rows = org.rows("openai_billed_daily")
    by_day = {day: [row for row in rows if row["usage_date"] == day] for day in DAYS}
    assert sum(row["billed_cost"] for row in by_day[DAYS[0]]) == Decimal("14.375")
    assert by_day[DAYS[1]] == []
    (late,) = by_day[DAYS[2]]
    assert (late["billed_cost"], late["quantity"]) == (0, 90_000)
    # One amount of the bill is text, and one line has no unit.
    texts = {row["amount_received"]: row for row in rows}
    assert texts["6.225000000000000000"]["billed_cost"] == Decimal("6.225")
    (search,) = [row for row in rows if row["quantity_unit"] is None]
    assert (search["line_item"], search["billed_cost"]) == ("web search tool calls", Decimal("1.4"))
    assert {row["currency"] for row in rows} == {"USD"}
    assert {row["extra"] for row in rows} == {None}
    shown = org.rows("cost_daily_by_basis", "WHERE x_Basis = 'billed'")
    assert sum(row["BilledCost"] for row in shown) == Decimal("14.375")
    assert {row["x_Provider"] for row in shown} == {"openai"}


def test_computed_cost_ties_out_with_the_bill_of_any_org(connected: OrgEnv) -> None:
    usage = UsageConfig.from_values(
        {
            "endpoints": [
                {"endpoint": name, "group_by": list(groups)} for name, groups in GROUPABLE.items()
            ],
            "buckets_per_page": 31,
        }
    )
    seed_prices(connected.context([]), SeedCsvConfig())
    extract_usage(connected.context(DAYS, step="usage"), usage)
    cost = price_usage(connected.context(DAYS, step="cost"), CostConfig())
    extract_billed(connected.context(DAYS, step="billed", pipeline=FACTS), BILLED)
    computed = connected.rows("openai_cost_daily")
    billed = connected.rows("openai_billed_daily")
    assert billed
    for day in DAYS:
        told = sum(row["billed_cost"] for row in billed if row["usage_date"] == day)
        ours = [row["effective_cost"] for row in computed if row["usage_date"] == day]
        assert sum(one for one in ours if one is not None) == told
    reasons = {line["reason"] for line in cost.details["unpriced"]}
    endpoints = {line["endpoint"] for line in cost.details["unpriced"]}
    assert reasons <= {"unknown_unit"}
    assert endpoints <= {"images", "vector_stores"}
    assert {line["endpoint"] for line in cost.details["free"]} == {"moderations"}
    explained = cost.details["unpriced_by_reason"]
    priced = [row for row in computed if row["pricing_status"] == "PRICED"]
    usage_rows = connected.rows("openai_usage_daily_raw", "WHERE usage_date > '2000-01-01'")
    assert len(priced) + sum(explained.values()) == len(usage_rows)


def test_a_bill_extracted_again_is_the_same_bill(connected: OrgEnv) -> None:
    extract_billed(connected.context(DAYS, pipeline=FACTS), BILLED)
    again = extract_billed(connected.context(DAYS, run_id="run_2", pipeline=FACTS), BILLED)
    assert (again.details["days_published"], again.details["days_unchanged"]) == (0, 3)


@pytest.mark.parametrize("kind", ["duplicate_rows", "missing_page", "loop", "null_page"])
def test_a_broken_bill_is_a_named_failure_and_publishes_nothing(
    connected: OrgEnv, faults: str, kind: str
) -> None:
    fault = {"kind": kind, "path": "organization/costs", "count": None}
    httpx.post(faults, json=fault, trust_env=False).raise_for_status()
    config = BilledConfig(buckets_per_page=1)
    with pytest.raises(ProviderProtocolError):
        extract_billed(connected.context(DAYS, pipeline=FACTS), config)
    assert connected.rows("openai_billed_daily") == []


def test_pricing_again_replaces_the_cost_of_days_whose_price_changed(connected: OrgEnv) -> None:
    usage = UsageConfig.from_values(
        {"endpoints": [{"endpoint": "embeddings", "group_by": list(GROUPABLE["embeddings"])}]}
    )
    seed_prices(connected.context([]), SeedCsvConfig())
    extract_usage(connected.context(DAYS[:2], step="usage"), usage)
    first = price_usage(connected.context(DAYS[:2], step="cost"), CostConfig())
    same = price_usage(connected.context(DAYS, run_id="run_2", pipeline=AGAIN), REPRICE)
    assert same.details["days_published"] == 0
    assert same.details["days_without_usage"] == ["2026-11-19"]
    connected.env.ask(
        f"UPDATE {connected.table('openai_model_pricing')} "
        "SET input_per_million = input_per_million * 2 "
        "WHERE STARTS_WITH(model_id, 'text-embedding')"
    )
    again = price_usage(connected.context(DAYS, run_id="run_3", pipeline=AGAIN), REPRICE)
    assert again.details["days_published"] == 2
    doubled = {
        name: 2 * Decimal(amount) for name, amount in first.details["effective_cost"].items()
    }
    assert {n: Decimal(a) for n, a in again.details["effective_cost"].items()} == doubled
    # The slice is one slice, whichever pipeline made its newest content.
    latest = connected.env.services.ledger.read_latest(
        orgs=[connected.slug], pipeline_id="openai-usage-cost", since=DAYS[0]
    )
    runs = {row.run_id for key, row in latest.items() if key.table == "openai_cost_daily"}
    assert runs == {"run_3"}


def test_costs_can_not_be_split_by_user_and_project_at_once() -> None:
    with pytest.raises(ValueError, match="user_id and project_id"):
        BilledConfig.from_values({"group_by": ["user_id", "project_id"]})
