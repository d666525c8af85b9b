"""Reasons add up: of random bills and usages, to the difference of each row and each day."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from convergence.processors.costs.config import AuthoritativeConfig, ReconciliationConfig
from convergence.processors.costs.publishing import publish_streams
from convergence.processors.costs.reconciling import reconcile_streams
from support.costs.random_rows import random_bill, random_usage
from support.processor_env import NOW, OrgEnv

STREAMS = ("openai/api",)
FIRST = date(2026, 9, 1)
pytestmark = pytest.mark.timeout(600)
MODELS = ("gpt-a", "gpt-a-2026-01-01", "ft:gpt-a-2026-01-01:acme::one", "gpt-c")
CAVEATS = (None, None, "long_context_not_visible", "cache_write_12h_at_common_rate", "other")
ITEMS = ("", ", long context", ", regional", ", free", ", 12h")


def change_usage(rng: random.Random, row: dict[str, Any]) -> dict[str, Any]:
    row["model"] = rng.choice(MODELS)
    row["price_caveat"] = rng.choice(CAVEATS) if row["pricing_status"] == "PRICED" else None
    row["priced_tier"] = rng.choice(["standard", "batch", None])
    return row


def change_bill(rng: random.Random, row: dict[str, Any]) -> dict[str, Any]:
    model, meter = (
        rng.choice(MODELS),
        rng.choice(["input", "batch_input_tokens", "output", "all_tokens"]),
    )
    if rng.random() < 0.8:
        row["line_item"] = f"{model}, {meter}{rng.choice(ITEMS)}"
    return row


@pytest.mark.parametrize("seed", [1, 2])
def test_reasons_of_random_bills_add_up(org: OrgEnv, tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    days = [FIRST + timedelta(days=number) for number in range(6)]
    usage = [change_usage(rng, row) for day in days for row in random_usage(rng, day)]
    bill = [change_bill(rng, row) for day in days for row in random_bill(rng, day)]
    # The last two days are not final.
    later = org.at(NOW.replace(month=9, day=8))
    for table, rows, pipeline in (
        ("openai_cost_daily", usage, "openai-usage-cost"),
        ("openai_billed_daily", bill, "openai-cost-extract"),
    ):
        later.publish_rows(
            rows,
            days,
            schema_file=f"openai/cost/schemas/{table}.json",
            folder=tmp_path,
            pipeline_id=pipeline,
        )
    publish_streams(later.context([]), AuthoritativeConfig(streams=STREAMS))
    reconcile_streams(later.context([]), ReconciliationConfig(streams=STREAMS))
    rows = org.rows("cost_reconciliation_daily")
    assert {row["finality"] for row in rows} == {"FINAL", "SETTLING"}
    found: dict[str, int] = defaultdict(int)
    for row in rows:
        if not row["is_comparable"]:
            assert row["difference"] is None
            continue
        assert row["difference"] == row["billed_cost"] - row["computed_cost"]
        assert row["quantity_effect"] + row["price_effect"] == row["difference"]
        assert sum((one["amount"] for one in row["reasons"]), Decimal(0)) == row["difference"]
        for one in row["reasons"]:
            found[one["reason"]] += 1
    # Each amount of both sides is in one row.
    assert sum_by_day(rows, "billed_cost", "billing_currency") == sum_by_day(
        bill, "billed_cost", "currency"
    )
    assert sum_by_day(rows, "computed_cost", None) == sum_by_day(usage, "billed_cost", None)
    assert {"price_differs", "no_meter", "not_billed_yet", "no_price", "long_context"} <= set(found)


def sum_by_day(
    rows: list[dict[str, Any]], amount: str, currency: str | None
) -> Mapping[Any, Decimal]:
    sums: dict[Any, Decimal] = defaultdict(Decimal)
    for row in rows:
        sums[row["usage_date"], row[currency] if currency else None] += row[amount] or 0
    return {key: value for key, value in sums.items() if value}
