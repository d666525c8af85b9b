"""The authoritative rows of OpenAI's documented responses: bill and usage of the same days."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal

import pytest

from convergence.processors.context import PipelineInfo
from convergence.processors.costs.config import AuthoritativeConfig
from convergence.processors.costs.publishing import publish_streams
from convergence.processors.lib.pricing.price_seed import seed_prices
from convergence.processors.lib.pricing.pricing import price_usage
from convergence.processors.openai.config import (
    BilledConfig,
    CostConfig,
    SeedCsvConfig,
    UsageConfig,
    UsageEndpoint,
)
from convergence.processors.openai.extraction import extract_billed, extract_usage
from convergence.settings import PROJECT_ROOT
from support.processor_env import NOW, OrgEnv
from support.vendors.recorded_api import recorded

DATA = PROJECT_ROOT / "tests" / "data" / "openai"
DAYS = [date(2026, 11, day) for day in (17, 18, 19)]
BILL_PIPELINE = PipelineInfo(
    pipeline_id="openai-cost-extract", dag_id="openai.cost.cost_extract", provider="openai"
)
STREAM = AuthoritativeConfig(streams=("openai/api",))
USAGE = UsageConfig(
    endpoints=(
        UsageEndpoint(
            endpoint="completions",
            group_by=("project_id", "user_id", "api_key_id", "model", "batch", "service_tier"),
        ),
    )
)


@pytest.fixture
def connected(org: OrgEnv) -> Iterator[OrgEnv]:
    """An org whose provider answers with the documented usage and bill."""
    org.env.keys[org.slug] = f"sk-admin-sandbox-{org.slug}"
    seed_prices(org.context([]), SeedCsvConfig())
    pages = [DATA / f"usage_completions_page{number}.json" for number in (1, 2)]
    recordings = {
        "/organization/usage/completions": pages,
        "/organization/costs": [DATA / "costs_line_item.json"],
    }
    with recorded(recordings) as url:
        yield org.served_by(openai_base_url=url)


def use(org: OrgEnv) -> None:
    extract_usage(org.context(DAYS), USAGE)
    price_usage(org.context(DAYS), CostConfig())


def bill(org: OrgEnv) -> None:
    extract_billed(org.context(DAYS, pipeline=BILL_PIPELINE), BilledConfig())


def test_a_bill_that_covers_its_day_is_shown_once(connected: OrgEnv) -> None:
    org = connected.at(NOW + timedelta(days=30))
    use(org)
    publish_streams(org.context(DAYS), STREAM)
    computed = org.rows("cost_daily", "WHERE x_UsageDate = '2026-11-17'")
    assert {row["x_Shown"] for row in computed} == {"computed"}
    assert sum(row["BilledCost"] for row in computed) == Decimal("12.975")
    bill(org)
    publish_streams(org.context(DAYS), STREAM)
    # The bill has fewer tokens of one model than the usage: it covers once it is read again.
    partial = org.rows("cost_daily", "WHERE x_UsageDate = '2026-11-17'")
    assert {row["x_BillState"] for row in partial} == {"partial"}
    org = connected.at(NOW + timedelta(days=32))
    bill(org)
    publish_streams(org.context(DAYS), STREAM)
    rows = org.rows("cost_daily", "WHERE x_UsageDate = '2026-11-17'")
    assert {row["x_Shown"] for row in rows} == {"billed"}
    assert sum(row["BilledCost"] for row in rows) == Decimal("14.375")
    shown = {
        (row["SkuId"], row["SkuMeter"]): (row["BilledCost"], row["x_Attribution"]) for row in rows
    }
    assert shown["gpt-4o-2024-08-06", "cached_input_tokens"] == (Decimal("0.5"), "direct")
    # The bill has one line for all tokens of this model; the usage divides it.
    parts = {meter: cost for (sku, meter), (cost, _) in shown.items() if sku == "gpt-6-astra"}
    assert sum(parts.values()) == Decimal("6.225")
    assert parts["input_tokens"] == Decimal("3.5")
    assert shown["web_search", "calls"] == (Decimal("1.4"), "unattributed")


def test_running_again_publishes_nothing(connected: OrgEnv) -> None:
    org = connected.at(NOW + timedelta(days=30))
    use(org)
    bill(org)
    first = publish_streams(org.context(DAYS), STREAM)
    again = publish_streams(org.context(DAYS, run_id="run_2"), STREAM)
    assert first.details["streams"]["openai/api"]["days_published"] == 3
    assert again.details["streams"]["openai/api"]["days_published"] == 0
