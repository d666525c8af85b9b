from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convergence.errors import ProviderProtocolError
from convergence.processors.anthropic.config import Api, BilledConfig, UsageConfig
from convergence.processors.anthropic.shape import BilledShape, UsageShape
from convergence.settings import PROJECT_ROOT

DATA = PROJECT_ROOT / "tests" / "data" / "anthropic"
SCHEMAS = PROJECT_ROOT / "include/configs/anthropic/cost/schemas"


def columns(table: str) -> dict[str, str]:
    fields = json.loads((SCHEMAS / f"{table}.json").read_text())["fields"]
    return {field["name"]: field["type"] for field in fields}


USAGE, BILLED = columns("anthropic_usage_daily_raw"), columns("anthropic_billed_daily")


def read_recorded(name: str) -> list[dict[str, Any]]:
    page = json.loads((DATA / name).read_text(), parse_float=Decimal)["data"]
    if "results" not in page[0]:
        return list(page)
    times = ("starting_at", "ending_at")
    return [{**{key: one[key] for key in times}, **row} for one in page for row in one["results"]]


def shape_usage(api: Api, row: dict[str, Any]) -> dict[str, Any]:
    return UsageShape(api, columns=USAGE).build_row(row)


def billed(api: Api, row: dict[str, Any]) -> dict[str, Any]:
    return BilledShape(api, columns=BILLED).build_row(row)


LEGACY_USAGE = read_recorded("usage_report_messages_page1.json")
NEW_USAGE = read_recorded("analytics_usage.json")
LEGACY_COST = read_recorded("cost_report.json")
NEW_COST = read_recorded("analytics_cost.json")


def test_both_generations_tell_the_same_usage() -> None:
    measures = [name for name in USAGE if name.endswith("_tokens") and name != "total_tokens"]
    keys = ["usage_date", "model", "service_tier", "context_window", "workspace_id", *measures]
    for old, new in zip(LEGACY_USAGE, NEW_USAGE, strict=False):
        before, after = shape_usage("legacy", old), shape_usage("analytics", new)
        assert {key: before[key] for key in keys} == {key: after[key] for key in keys}
        assert (before["api"], after["api"]) == ("legacy", "analytics")
        assert (before["requests"], after["requests"] is None) == (None, False)


def test_every_documented_field_has_a_column() -> None:
    rows = [shape_usage("legacy", row) for row in LEGACY_USAGE]
    rows += [shape_usage("analytics", row) for row in NEW_USAGE]
    rows += [billed("legacy", row) for row in LEGACY_COST]
    rows += [billed("analytics", row) for row in NEW_COST]
    assert {json.dumps(row["extra"]) for row in rows} == {"null"}
    assert set(rows[0]) == set(USAGE)
    assert set(rows[-1]) == set(BILLED)


def test_caches_and_searches_are_told_apart() -> None:
    row = shape_usage("analytics", NEW_USAGE[0])
    assert (row["cache_write_5m_input_tokens"], row["cache_write_1h_input_tokens"]) == (
        200_000,
        100_000,
    )
    assert (row["cache_read_input_tokens"], row["web_search_requests"]) == (4_000_000, 100)


@given(st.decimals(min_value=0, max_value=10**9, places=6))
def test_cents_become_the_main_unit_exactly(cents: Decimal) -> None:
    row = billed("legacy", {**LEGACY_COST[0], "amount": f"{cents:f}"})
    assert row["billed_cost"] * 100 == cents
    assert row["amount_received"] == f"{cents:f}"


def test_the_documented_example_is_not_wrong_by_a_factor_of_a_hundred() -> None:
    row = billed("legacy", {**LEGACY_COST[0], "amount": "123.45", "currency": "usd"})
    assert (row["billed_cost"], row["currency"]) == (Decimal("1.2345"), "USD")


def test_discounted_and_listed_amounts_are_both_kept() -> None:
    row = billed("analytics", NEW_COST[0])
    assert (row["billed_cost"], row["list_cost"]) == (Decimal("4.75"), Decimal(5))
    assert row["cost_type"] == "tokens"


def test_fields_that_nobody_documented_are_kept_wherever_they_are() -> None:
    row = {
        **NEW_USAGE[0],
        "later": 1,
        "group": {**NEW_USAGE[0]["group"], "planet": "earth"},
        "usage": {
            **NEW_USAGE[0]["usage"],
            "cache_creation": {"ephemeral_5m_input_tokens": 1, "ephemeral_1d_input_tokens": 2},
        },
    }
    assert shape_usage("analytics", row)["extra"] == {
        "later": 1,
        "planet": "earth",
        "cache_creation": {"ephemeral_1d_input_tokens": 2},
    }


@pytest.mark.parametrize(
    ("api", "row"),
    [
        ("legacy", {**LEGACY_COST[0], "amount": None}),
        ("legacy", {**LEGACY_COST[0], "amount": {"value": "5"}}),
        ("legacy", {**LEGACY_COST[0], "currency": None}),
        ("legacy", {**LEGACY_COST[0], "ending_at": "2026-11-19T00:00:00Z"}),
        ("legacy", {**LEGACY_COST[0], "starting_at": "2026-11-17T00:00:00"}),
        ("analytics", {**NEW_COST[0], "cost": None}),
        ("analytics", {**NEW_COST[0], "group": []}),
    ],
)
def test_a_cost_of_another_shape_is_refused(api: Api, row: dict[str, Any]) -> None:
    with pytest.raises(ProviderProtocolError):
        billed(api, row)


@pytest.mark.parametrize(
    "config",
    [
        {"api": "newest"},
        {"group_by": ["model", "service_tier", "context_window"]},
        {"group_by": ["model", "service_tier", "context_window", "speed", "rbac_group_id"]},
        {"group_by": ["model", "service_tier", "context_window", "speed", "planet"]},
        {"group_by": ["model", "service_tier", "context_window", "speed", "actor", "product"]},
        {"group_by": ["model", "service_tier", "context_window", "speed", "model"]},
        {
            "api": "legacy",
            "group_by": ["model", "service_tier", "context_window", "speed", "actor"],
        },
    ],
)
def test_groups_that_can_not_be_asked_for_or_priced_are_refused(config: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"api|group"):
        UsageConfig.from_values(config)


def test_a_bill_can_be_split_by_what_usage_is_not() -> None:
    assert BilledConfig.from_values({"group_by": ["api_key_id"]}).api == "analytics"
