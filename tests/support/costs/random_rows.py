"""Random usage and bills of OpenAI: zero, negative and missing amounts, another currency."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

MODELS = ("gpt-a", "gpt-b", "gpt-c")
METERS = ("input_tokens", "cached_input_tokens", "output_tokens")
ITEMS = {"input_tokens": "input", "cached_input_tokens": "cached input", "output_tokens": "output"}
PROJECTS = ("proj_1", "proj_2")
KEYS = ("key_1", "key_2", "key_3")
NANO = Decimal("0.000000001")
Rows = list[dict[str, Any]]


def random_usage(rng: random.Random, day: date) -> Rows:
    """Priced usage rows with zero, equal, tiny and missing costs."""
    rows: Rows = []
    for _ in range(rng.randrange(0, 25)):
        priced = rng.random() > 0.15
        meters: Rows = []
        for meter in rng.sample(METERS, rng.randrange(1, 4)):
            quantity = rng.choice([1, 3, 7, rng.randrange(1, 10**9)])
            cost = rng.choice([Decimal(0), NANO, Decimal(rng.randrange(1, 10**12)) * NANO])
            amount = cost if priced else None
            meters.append(
                {
                    "meter": meter,
                    "quantity": quantity,
                    "list_cost": amount,
                    "contracted_cost": amount,
                }
            )
        total = sum((one["list_cost"] for one in meters), Decimal(0)) if priced else None
        rows.append(
            {
                "usage_date": day,
                "endpoint": "completions",
                "project_id": rng.choice(PROJECTS),
                "api_key_id": rng.choice(KEYS),
                "user_id": rng.choice(["user_1", "user_2"]),
                "model": rng.choice(MODELS),
                "num_model_requests": rng.randrange(1, 100),
                "list_cost": total,
                "contracted_cost": total,
                "billed_cost": total,
                "effective_cost": total,
                "currency": "USD" if priced else None,
                "pricing_status": "PRICED" if priced else "UNPRICED",
                "unpriced_reason": None if priced else "no_price",
                "meters": meters,
            }
        )
    return rows


def random_bill(rng: random.Random, day: date) -> Rows:
    """Bill rows, some without key or project, negative, of unknown items, in another currency."""
    starts = datetime.combine(day, time.min, UTC)
    currency = rng.choice(["USD", "USD", "EUR"])
    rows: Rows = []
    for _ in range(rng.randrange(1, 20)):
        item = rng.choice(
            [f"{rng.choice(MODELS)}, {ITEMS[rng.choice(METERS)]}", "gpt-a, all_tokens", "image"]
        )
        amount = rng.choice([Decimal(0), NANO, Decimal(rng.randrange(-(10**10), 10**12)) * NANO])
        rows.append(
            {
                "usage_date": day,
                "bucket_start": starts,
                "bucket_end": starts + timedelta(days=1),
                "project_id": rng.choice([*PROJECTS, None]),
                "api_key_id": rng.choice([*KEYS, None]),
                "line_item": item,
                "billed_cost": amount,
                "currency": currency,
                "amount_received": str(amount),
                "quantity": rng.choice([None, rng.randrange(1, 10**9)]),
                "quantity_unit": "tokens",
            }
        )
    return rows
