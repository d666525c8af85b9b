"""Attribution adds up: billed amounts to the bill, quantities to the usage, to the last digit."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from convergence.processors.costs.config import AuthoritativeConfig
from convergence.processors.costs.publishing import publish_streams
from support.costs.random_rows import random_bill, random_usage
from support.processor_env import NOW, OrgEnv

STREAM = AuthoritativeConfig(streams=("openai/api",))
FIRST = date(2026, 9, 1)
DAYS = [FIRST + timedelta(days=number) for number in range(16)]


def sum_by(rows: Iterable[Mapping[str, Any]], amount: str, *names: str) -> dict[Any, Decimal]:
    sums: dict[Any, Decimal] = defaultdict(Decimal)
    for row in rows:
        if row[amount] is not None:
            sums[tuple(row[name] for name in names)] += row[amount]
    return {key: value for key, value in sums.items() if value}


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_random_bills_and_usages_add_up(org: OrgEnv, tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    usage = [row for day in DAYS for row in random_usage(rng, day)]
    bill = [row for day in DAYS for row in random_bill(rng, day)]
    schemas = "openai/cost/schemas"
    later = org.at(NOW + timedelta(days=100))
    for table, rows, pipeline in (
        ("openai_cost_daily", usage, "openai-usage-cost"),
        ("openai_billed_daily", bill, "openai-cost-extract"),
    ):
        later.publish_rows(
            rows, DAYS, schema_file=f"{schemas}/{table}.json", folder=tmp_path, pipeline_id=pipeline
        )
    # Each bill is steady: a day later the same was read.
    much_later = org.at(NOW + timedelta(days=102))
    much_later.publish_rows(
        bill,
        DAYS,
        schema_file=f"{schemas}/openai_billed_daily.json",
        folder=tmp_path,
        pipeline_id="openai-cost-extract",
    )
    publish_streams(much_later.context([]), STREAM)
    rows = [row for row in org.rows("cost_daily") if row["x_Shown"] == "billed"]
    days = {row["x_UsageDate"] for row in rows}
    assert len(days) > len(DAYS) / 2
    billed = [row for row in bill if row["usage_date"] in days]
    assert sum_by(rows, "BilledCost", "x_UsageDate", "BillingCurrency") == sum_by(
        billed, "billed_cost", "usage_date", "currency"
    )
    # Where the bill states project and key, the rows have the same ones.
    stated = [row for row in billed if row["project_id"] and row["api_key_id"]]
    by_key = sum_by(stated, "billed_cost", "usage_date", "project_id", "api_key_id", "currency")
    coarse = [row for row in billed if not (row["project_id"] and row["api_key_id"])]
    if not coarse:
        assert sum_by(rows, "BilledCost", "x_UsageDate", "SubAccountId", "x_ApiKeyId") == by_key
    used = [
        {"day": row["usage_date"], "meter": meter["meter"], "quantity": Decimal(meter["quantity"])}
        for row in usage
        if row["usage_date"] in days
        for meter in row["meters"]
    ]
    attributed = [row for row in rows if row["x_Attribution"] not in {"unattributed", None}]
    assert sum_by(attributed, "ConsumedQuantity", "x_UsageDate", "SkuMeter") == sum_by(
        used, "quantity", "day", "meter"
    )
    requests = sum(row["x_Requests"] or 0 for row in rows)
    assert requests == sum(row["num_model_requests"] for row in usage if row["usage_date"] in days)
