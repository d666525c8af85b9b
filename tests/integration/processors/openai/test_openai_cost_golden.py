"""OpenAI's documented answers priced by the real SQL: the totals are worked out by hand."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from convergence.processors.costs.config import AuthoritativeConfig
from convergence.processors.costs.publishing import publish_streams
from convergence.processors.lib.pricing.price_seed import seed_prices
from convergence.processors.lib.pricing.pricing import price_usage
from convergence.processors.openai.config import CostConfig, SeedCsvConfig
from convergence.processors.openai.shape import UsageShape
from convergence.settings import PROJECT_ROOT
from support.processor_env import OrgEnv, ProcessorEnv

DATA = PROJECT_ROOT / "tests" / "data" / "openai"
SCHEMA = PROJECT_ROOT / "include/configs/openai/cost/schemas/openai_usage_daily_raw.json"
COLUMNS = {field["name"]: field["type"] for field in json.loads(SCHEMA.read_text())["fields"]}
DAYS = [date(2026, 11, day) for day in (17, 18, 19)]
EXPECTED = json.loads((DATA / "expected_totals.json").read_text())["computed"]


def golden_rows(name: str, endpoint: str) -> list[dict[str, Any]]:
    shape = UsageShape(endpoint, columns=COLUMNS)
    answer = json.loads((DATA / name).read_text(), parse_float=Decimal)
    return [
        shape.build_row({"start_time": one["start_time"], "end_time": one["end_time"], **result})
        for one in answer["data"]
        for result in one["results"]
    ]


COMPLETIONS = [
    *golden_rows("usage_completions_page1.json", "completions"),
    *golden_rows("usage_completions_page2.json", "completions"),
]


def seed(org: OrgEnv) -> int:
    config = SeedCsvConfig()
    result = seed_prices(org.context([]), config)
    assert result.rows_processed is not None
    return result.rows_processed


@pytest.fixture(scope="module")
def priced(env: ProcessorEnv, tmp_path_factory: pytest.TempPathFactory) -> OrgEnv:
    """An org with default prices, three published days of usage, and their cost."""
    org = env.new_org()
    seed(org)
    org.publish_usage(COMPLETIONS, DAYS, folder=tmp_path_factory.mktemp("spool"))
    result = price_usage(org.context(DAYS), CostConfig())
    assert result.details["days_published"] == 3
    assert result.details["unpriced_rows"] == 0
    publish_streams(org.context(DAYS), AuthoritativeConfig(streams=("openai/api",)))
    return org


def test_token_models_cost_exactly_what_hand_and_pencil_say(priced: OrgEnv) -> None:
    rows = priced.rows("openai_cost_daily", "WHERE usage_date = '2026-11-17'")
    found = {row["model"]: row["effective_cost"] for row in rows}
    assert found == {
        "gpt-4o-2024-08-06": Decimal(EXPECTED["gpt-4o-2024-08-06"]),
        "gpt-5-2025-08-07": Decimal(EXPECTED["gpt-5-2025-08-07 (batch)"]),
        "gpt-6-astra": Decimal(EXPECTED["gpt-6-astra"]),
    }
    assert sum(found.values()) == Decimal("12.975")


def test_a_day_without_usage_is_a_published_day_without_rows(priced: OrgEnv) -> None:
    assert priced.rows("openai_cost_daily", "WHERE usage_date = '2026-11-18'") == []
    latest = priced.env.services.ledger.read_latest(
        orgs=[priced.slug], pipeline_id="openai-usage-cost", since=date(2026, 11, 18)
    )
    ledger = {key.day.day: row for key, row in latest.items() if key.table == "openai_cost_daily"}
    assert ledger[18].row_count == 0
    assert ledger[18].totals == ()


def test_audio_tokens_cost_what_audio_costs(priced: OrgEnv) -> None:
    (row,) = priced.rows("openai_cost_daily", "WHERE usage_date = '2026-11-19'")
    # 60,000 x 2.5 + 30,000 x 40 + 9,000 x 10 + 3,000 x 80, per million.
    assert row["effective_cost"] == Decimal("1.68")
    assert (row["input_tokens"], row["audio_input_tokens"]) == (60_000, 30_000)


def test_each_row_says_which_price_applied_and_where_it_is_published(priced: OrgEnv) -> None:
    rows = priced.rows("openai_cost_daily")
    assert {row["pricing_status"] for row in rows} == {"PRICED"}
    by_model = {row["model"]: row for row in rows}
    astra, batch = by_model["gpt-6-astra"], by_model["gpt-5-2025-08-07"]
    assert batch["priced_tier"] == "batch"
    assert astra["price_effective_from"] == date(2026, 9, 3)
    assert astra["price_source_url"] == "https://developers.openai.com/api/docs/pricing"
    assert astra["price_caveat"] == "long_context_not_visible"
    assert by_model["gpt-4o-2024-08-06"]["price_caveat"] is None


def test_the_ledger_knows_each_days_total(priced: OrgEnv) -> None:
    latest = priced.env.services.ledger.read_latest(
        orgs=[priced.slug], pipeline_id="openai-usage-cost", since=DAYS[0]
    )
    totals = {
        key.day: row.totals for key, row in latest.items() if key.table == "openai_cost_daily"
    }
    (money,) = totals[DAYS[0]]
    assert (money.currency, money.basis, money.amount) == ("USD", "computed", Decimal("12.975"))


def test_pricing_again_finds_nothing_to_do_and_says_the_same(priced: OrgEnv) -> None:
    before = sorted(map(str, priced.rows("openai_cost_daily")))
    again = price_usage(priced.context(DAYS, run_id="run_2"), CostConfig())
    assert again.details["days_published"] == 0
    assert again.details["days_unchanged"] == 3
    assert again.details["effective_cost"] == {"USD": "14.655"}
    assert sorted(map(str, priced.rows("openai_cost_daily"))) == before


def test_seeding_again_writes_nothing(priced: OrgEnv) -> None:
    assert seed(priced) == 0


def test_cost_daily_shows_cost_by_its_focus_names(priced: OrgEnv) -> None:
    rows = priced.rows("cost_daily", "WHERE x_UsageDate = '2026-11-17'")
    assert sum(row["EffectiveCost"] for row in rows) == Decimal("12.975")
    meters = {row["SkuMeter"]: row for row in rows if row["x_Model"] == "gpt-6-astra"}
    for name in ("ListCost", "BilledCost", "ContractedCost"):
        assert sum(row[name] for row in meters.values()) == Decimal("6.225")
    astra = meters["input_tokens"]
    assert astra["ChargePeriodStart"].isoformat() == "2026-11-17T00:00:00+00:00"
    assert astra["ChargePeriodEnd"].isoformat() == "2026-11-18T00:00:00+00:00"
    assert astra["BillingPeriodStart"].isoformat() == "2026-11-01T00:00:00+00:00"
    assert astra["BillingPeriodEnd"].isoformat() == "2026-12-01T00:00:00+00:00"
    assert astra["SubAccountId"] == "proj_4mKd2Wsupport"
    assert astra["BillingAccountId"] == priced.slug
    assert astra["SkuPriceId"] == "gpt-6-astra/standard@2026-09-03"
    assert (astra["x_Basis"], astra["BillingCurrency"]) == ("computed", "USD")
    # The bill may still come: the day is not final, though its usage is.
    assert (astra["x_Finality"], astra["x_RunId"]) == ("SETTLING", "run_1")
    assert (astra["x_Shown"], astra["x_BillState"], astra["x_UsageState"]) == (
        "computed",
        "expected",
        "published",
    )


FOCUS_1_2_MANDATORY = {
    *("BilledCost", "BillingAccountId", "BillingAccountName", "BillingCurrency"),
    *("BillingPeriodStart", "BillingPeriodEnd", "ChargeCategory", "ChargeClass"),
    *("ChargeDescription", "ChargePeriodStart", "ChargePeriodEnd", "ContractedCost"),
    *("EffectiveCost", "InvoiceIssuerName", "ListCost", "PricingQuantity", "PricingUnit"),
    *("ProviderName", "PublisherName", "ServiceCategory", "ServiceName"),
}


def test_cost_daily_has_every_mandatory_column_of_focus(priced: OrgEnv) -> None:
    (row, *_) = priced.rows("cost_daily", "WHERE x_UsageDate = '2026-11-17'")
    assert set(row) >= FOCUS_1_2_MANDATORY
    nullable = {"BillingAccountName", "ChargeClass"}
    assert all(row[name] is not None for name in FOCUS_1_2_MANDATORY - nullable)


UNIT_COSTS = {
    "web_search_calls": EXPECTED["web_search_calls"],  # 140 calls at 0.01
    "file_search_calls": "0.525",  # 210 calls at 0.0025
    "code_interpreter_sessions": "0.09",  # 3 sessions at 0.03
    "audio_speeches": "0.675",  # 45,000 characters at 0.000015
    "audio_transcriptions": "0.36",  # 3,600 seconds at 0.0001
}


def test_web_search_makes_the_days_total_what_was_billed(org: OrgEnv, tmp_path: Path) -> None:
    seed(org)
    searches = golden_rows("usage_web_search_calls.json", "web_search_calls")
    org.publish_usage([*COMPLETIONS, *searches], DAYS, folder=tmp_path)
    price_usage(org.context(DAYS), CostConfig())
    rows = org.rows("openai_cost_daily", "WHERE usage_date = '2026-11-17'")
    billed = json.loads((DATA / "expected_totals.json").read_text())["billed_2026_11_17"]
    assert sum(row["effective_cost"] for row in rows) == Decimal(billed) == Decimal("14.375")


def test_other_endpoints_are_priced_or_listed_with_their_reason(
    org: OrgEnv, tmp_path: Path
) -> None:
    seed(org)
    names = ("embeddings", "moderations", "images", "vector_stores", *UNIT_COSTS)
    rows = [row for name in names for row in golden_rows(f"usage_{name}.json", name)]
    org.publish_usage(rows, DAYS[:1], folder=tmp_path)
    result = price_usage(org.context(DAYS[:1]), CostConfig())
    found = {row["endpoint"]: row for row in org.rows("openai_cost_daily")}
    assert found["embeddings"]["effective_cost"] == Decimal("0.1")
    assert found["moderations"]["effective_cost"] == Decimal(0)
    for name, cost in UNIT_COSTS.items():
        assert found[name]["effective_cost"] == found[name]["list_cost"] == Decimal(cost)
        assert found[name]["unit"] in {"call", "session", "character", "second"}
    # The API returns neither the quality of an image nor an organization's free storage.
    for name in ("images", "vector_stores"):
        assert found[name]["effective_cost"] is None
        assert found[name]["unpriced_reason"] == "unknown_unit"
    assert result.details["unpriced_rows"] == 2
    shown = {(row["SkuId"], row["SkuMeter"]): row for row in org.rows("cost_daily_by_basis")}
    assert shown["web_search", "calls"]["ConsumedQuantity"] == 140
    (speech,) = [row for (_, meter), row in shown.items() if meter == "characters"]
    assert speech["ConsumedUnit"] == "Characters"


def test_usage_without_a_model_has_no_cost_rather_than_none_to_pay(
    org: OrgEnv, tmp_path: Path
) -> None:
    rows = golden_rows("usage_completions_legacy_shape.json", "completions")
    org.publish_usage(rows, DAYS[:1], folder=tmp_path)
    result = price_usage(org.context(DAYS[:1]), CostConfig())
    (row,) = org.rows("openai_cost_daily")
    assert row["effective_cost"] is row["list_cost"] is row["currency"] is None
    assert (row["pricing_status"], row["unpriced_reason"]) == ("UNPRICED", "model_unknown")
    assert result.details["effective_cost"] == {}
    assert result.details["unpriced"][0]["reason"] == "model_unknown"
