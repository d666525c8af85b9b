from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from pydantic import ValidationError

from convergence.processors.lib.pricing.pricing import MAX_LINES, summarize_costs
from convergence.processors.openai.config import GROUPABLE, PRICED_BY, UsageConfig

COMPLETIONS = {"endpoint": "completions", "group_by": list(GROUPABLE["completions"])}


@pytest.mark.parametrize("endpoint", GROUPABLE)
def test_every_endpoint_can_be_read_by_configuration_alone(endpoint: str) -> None:
    config = UsageConfig.from_values(
        {"endpoints": [{"endpoint": endpoint, "group_by": list(GROUPABLE[endpoint])}]}
    )
    assert config.endpoints[0].endpoint == endpoint
    assert config.daily_tables() == ("openai_usage_daily_raw",)


@pytest.mark.parametrize(
    ("endpoints", "message"),
    [
        ([], "at least 1 item"),
        ([{"endpoint": "chats", "group_by": ["model"]}], "completions"),
        ([{"endpoint": "completions", "group_by": []}], "at least 1 item"),
        ([{"endpoint": "vector_stores", "group_by": ["model"]}], "can't be grouped by model"),
        ([{"endpoint": "embeddings", "group_by": ["model", "model"]}], "named twice"),
        ([COMPLETIONS, COMPLETIONS], "an endpoint is listed twice"),
        *(
            (
                [{"endpoint": name, "group_by": [k for k in GROUPABLE[name] if k != key]}],
                f"add {key}: without it, {name} can't be priced",
            )
            for name, keys in PRICED_BY.items()
            for key in keys
        ),
    ],
)
def test_endpoints_that_could_not_be_priced_are_an_error(endpoints: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        UsageConfig.from_values({"endpoints": endpoints})


def line(status: str = "PRICED", **changed: Any) -> dict[str, Any]:
    return {
        "pricing_status": status,
        "currency": "USD",
        "endpoint": "completions",
        "model": "gpt-4o",
        "tier": "standard",
        "reason": None,
        "usage_rows": 1,
        "tokens": 10,
        "effective_cost": Decimal("1.000000001"),
    } | changed


def test_a_summary_adds_within_a_currency_only() -> None:
    summary = summarize_costs([line(), line(model="gpt-5"), line(currency="EUR")])
    assert summary["effective_cost"] == {"EUR": "1.000000001", "USD": "2.000000002"}
    assert summary["unpriced_rows"] == 0


def test_a_summary_lists_what_has_no_price_and_adds_nothing_for_it() -> None:
    gone = line("UNPRICED", reason="no_price", currency=None, effective_cost=None, usage_rows=3)
    less = line("UNPRICED", reason="tier_unknown", currency=None, effective_cost=None)
    summary = summarize_costs([less, gone, line()])
    assert summary["effective_cost"] == {"USD": "1.000000001"}
    assert summary["unpriced_rows"] == 4
    assert [entry["reason"] for entry in summary["unpriced"]] == ["no_price", "tier_unknown"]
    assert "effective_cost" not in summary["unpriced"][0]
    assert summary["unpriced_by_reason"] == {"no_price": 3, "tier_unknown": 1}
    assert summary["free"] == []


def test_a_summary_tells_what_is_free_apart_from_what_has_no_price() -> None:
    free = line(model="omni-moderation-latest", reason="free", effective_cost=Decimal(0))
    summary = summarize_costs([free, line()])
    assert [entry["model"] for entry in summary["free"]] == ["omni-moderation-latest"]
    assert (summary["unpriced_rows"], summary["unpriced"]) == (0, [])


def test_a_summary_counts_under_its_reason_what_its_list_has_no_room_for() -> None:
    lines = [
        line("UNPRICED", model=f"m-{number}", reason="no_price", usage_rows=2)
        for number in range(MAX_LINES + 30)
    ]
    summary = summarize_costs(lines)
    assert len(summary["unpriced"]) == MAX_LINES
    assert summary["unpriced_by_reason"] == {"no_price": 2 * (MAX_LINES + 30)}
