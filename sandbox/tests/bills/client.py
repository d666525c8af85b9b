"""Requests of the tests of bill effects: put effects in force, read bills and stated amounts."""

from __future__ import annotations

import json
from collections import defaultdict
from decimal import Decimal
from typing import Any

from starlette.testclient import TestClient

EFFECTS = "/_sandbox/bill_effects"
COSTS, USAGE = "/openai/v1/organization/costs", "/openai/v1/organization/usage"
DAY = 86_400
START = 1_794_873_600  # 2026-11-17
FIRST, LAST = "2026-11-17", "2026-11-19"
ORG = "globex_inc"
PERIOD = {"start_time": START, "end_time": START + 3 * DAY, "limit": 31}
BY_LINE = ["project_id", "line_item", "api_key_id"]
SUITES: dict[str, dict[str, Any]] = {
    "images": {},
    "vector_storage": {},
    "credit": {},
    "extra_line": {"parameters": {"meter": "fine-tuning training", "amount": "7.25"}},
    "missing_lines": {"models": ["o4-mini-*"]},
    "regional_uplift": {"models": ["gpt-5*"]},
    "long_context": {"models": ["gpt-6-astra"]},
    "long_cache_writes": {},
    "free_tokens": {"models": ["gpt-4o-mini-*"]},
    "contract_discount": {},
    "undeclared_factor": {"models": ["gpt-4.1-*"]},
    "renamed_model": {"models": ["gpt-4o-2024-08-06"], "parameters": {"to": "gpt-4o"}},
    "observed_names": {},
    "currency": {},
    "late_lines": {"models": ["gpt-5-2025-*"], "parameters": {"hours": 9_000}},
    "partial_first_read": {},
    "empty_first_read": {},
}

Row = dict[str, Any]


def add_effect(client: TestClient, name: str, *, org: str = ORG, **fields: Any) -> int:
    effect = {"org": org, "provider": "openai", "name": name, **fields}
    response = client.post(EFFECTS, json=effect)
    assert response.status_code == 201, response.text
    return int(response.json()["ids"][0])


def read_page(client: TestClient, url: str, *, org: str = ORG, **params: Any) -> Row:
    headers = {"authorization": f"Bearer sk-admin-sandbox-{org}"}
    response = client.get(url, params={**PERIOD, **params}, headers=headers)
    assert response.status_code == 200, response.text
    found: Row = json.loads(response.text, parse_float=Decimal)
    return found


def read_costs(client: TestClient, *, org: str = ORG, **params: Any) -> list[Row]:
    page = read_page(client, COSTS, org=org, **{"group_by": BY_LINE, **params})
    return [row for bucket in page["data"] for row in bucket["results"]]


def read_usage(client: TestClient, endpoint: str, *keys: str) -> list[Row]:
    page = read_page(client, f"{USAGE}/{endpoint}", group_by=list(keys))
    return [row for bucket in page["data"] for row in bucket["results"]]


def read_amounts(client: TestClient, *, org: str = ORG, **params: Any) -> Row:
    query = {"org": org, "provider": "openai", "first_day": FIRST, "last_day": LAST, **params}
    response = client.get(f"{EFFECTS}/amounts", params=query)
    assert response.status_code == 200, response.text
    found: Row = response.json()
    return found


def sum_costs(rows: list[Row]) -> dict[str, Decimal]:
    totals: dict[str, Decimal] = defaultdict(Decimal)
    for row in rows:
        totals[row["amount"]["currency"].upper()] += Decimal(row["amount"]["value"])
    return dict(totals)


def sum_caused(amounts: list[Row], *, effect: str | None = None) -> dict[str, Decimal]:
    totals: dict[str, Decimal] = defaultdict(Decimal)
    for row in amounts:
        if effect in {None, row["effect"]}:
            totals[row["currency"]] += Decimal(row["amount"])
    return dict(totals)


def compare_totals(before: list[Row], after: list[Row]) -> dict[str, Decimal]:
    old, new = sum_costs(before), sum_costs(after)
    changed = {
        one: new.get(one, Decimal(0)) - old.get(one, Decimal(0)) for one in sorted({*old, *new})
    }
    return {currency: amount for currency, amount in changed.items() if amount}


def sum_model(rows: list[Row], model: str) -> Decimal:
    mine = [row for row in rows if row["line_item"].startswith(f"{model}, ")]
    return sum_costs(mine)["USD"]
