"""Effects on Anthropic's bill, in both generations of its reports."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from starlette.testclient import TestClient

from bills.client import EFFECTS, FIRST, LAST, ORG, Row, add_effect, read_amounts, sum_caused
from convergence_sandbox.providers.anthropic.analytics import BETA
from convergence_sandbox.providers.anthropic.bill import BILL

ORGANIZATIONS = "/anthropic/v1/organizations"
LEGACY, ANALYTICS = f"{ORGANIZATIONS}/cost_report", f"{ORGANIZATIONS}/analytics/cost"
USAGE = f"{ORGANIZATIONS}/analytics/usage"
PERIOD = {"starting_at": f"{FIRST}T00:00:00Z", "ending_at": "2026-11-20T00:00:00Z"}
DIMENSIONS = ["workspace_id", "api_key_id", "model", "service_tier", "context_window"]
BY_CLASS = [*DIMENSIONS, "cost_type", "token_type"]
OPUS, SONNET, HAIKU = "claude-opus-4-5-*", "claude-sonnet-4-5-*", "claude-haiku-4-5-*"
SUITES: dict[str, Row] = {
    "extra_line": {"parameters": {"meter": "session_usage", "amount": "7.25"}},
    "missing_lines": {"meters": ["web_search"]},
    "regional_uplift": {"models": [OPUS], "parameters": {"shown_as": "line"}},
    "long_context": {"models": [SONNET], "parameters": {"shown_as": "line"}},
    "free_tokens": {"models": [HAIKU]},
    "contract_discount": {},
    "undeclared_factor": {"models": [SONNET]},
    "renamed_model": {"models": [OPUS], "parameters": {"to": "claude-opus-4-5"}},
    "currency": {},
    "late_lines": {"meters": ["code_execution"], "parameters": {"hours": 9_000}},
    "partial_first_read": {"parameters": {"reads": 99}},
    "empty_first_read": {"parameters": {"reads": 99}},
}

Totals = dict[str, Decimal]


def add_anthropic(client: TestClient, name: str, **fields: Any) -> None:
    add_effect(client, name, provider="anthropic", **fields)


def read_stated(client: TestClient, **params: Any) -> list[Row]:
    amounts: list[Row] = read_amounts(client, provider="anthropic", **params)["amounts"]
    return amounts


def read_json(client: TestClient, url: str, params: Row) -> Row:
    headers = {
        "x-api-key": f"sk-ant-admin-sandbox-{ORG}",
        "anthropic-version": "2023-06-01",
        "anthropic-beta": BETA,
    }
    response = client.get(url, params={**PERIOD, **params}, headers=headers)
    assert response.status_code == 200, response.text
    found: Row = json.loads(response.text, parse_float=Decimal)
    return found


def read_legacy(client: TestClient) -> list[Row]:
    page = read_json(client, LEGACY, {"group_by[]": ["workspace_id", "description"], "limit": 31})
    return [row for bucket in page["data"] for row in bucket["results"]]


def read_analytics(client: TestClient, *groups: str, url: str = ANALYTICS) -> list[Row]:
    params = {"time_bucket_width": "1d", "limit": 1000, "order_by": "time"}
    page = read_json(client, url, {**params, "group_by[]": list(groups or BY_CLASS)})
    assert page["has_more"] is False
    found: list[Row] = page["data"]
    return found


def sum_legacy(rows: list[Row]) -> Totals:
    totals: Totals = defaultdict(Decimal)
    for row in rows:
        totals[row["currency"]] += Decimal(row["amount"]) / 100
    return dict(totals)


def sum_analytics(rows: list[Row], amount: str = "amount") -> Totals:
    totals: Totals = defaultdict(Decimal)
    for row in rows:
        totals[row["cost"]["currency"]] += Decimal(row["cost"][amount]) / 100
    return dict(totals)


def subtract_totals(after: Totals, before: Totals) -> Totals:
    zero = Decimal(0)
    found = {one: after.get(one, zero) - before.get(one, zero) for one in {**before, **after}}
    return {currency: amount for currency, amount in found.items() if amount}


def drop_zeros(totals: Totals) -> Totals:
    return {currency: amount for currency, amount in totals.items() if amount}


def test_every_effect_is_tested_here() -> None:
    assert set(SUITES) == set(BILL.kinds)


@pytest.mark.parametrize("name", SUITES)
def test_an_effect_changes_both_reports_by_the_amount_that_is_stated(
    client: TestClient, name: str
) -> None:
    old, new = read_legacy(client), read_analytics(client)
    usage = read_analytics(client, *DIMENSIONS, url=USAGE)
    add_anthropic(client, name, **SUITES[name])
    old_after, new_after = read_legacy(client), read_analytics(client)
    stated = read_stated(client)
    assert stated
    expected = drop_zeros(sum_caused(stated))
    assert expected or name == "renamed_model"
    assert subtract_totals(sum_legacy(old_after), sum_legacy(old)) == expected
    assert subtract_totals(sum_analytics(new_after), sum_analytics(new)) == expected
    listed = sum_caused([{**row, "amount": row["list_amount"]} for row in stated])
    changed = subtract_totals(
        sum_analytics(new_after, "list_amount"), sum_analytics(new, "list_amount")
    )
    assert changed == drop_zeros(listed)
    assert read_analytics(client, *DIMENSIONS, url=USAGE) == usage


def sum_model(rows: list[Row], model: str) -> Decimal:
    prefix = model.rstrip("*")
    mine = [row for row in rows if (row["model"] or "").startswith(prefix)]
    return sum_legacy(mine)["USD"]


def sum_type(rows: list[Row], cost_type: str) -> Decimal:
    return sum_legacy([row for row in rows if row["cost_type"] == cost_type])["USD"]


CHECKS: dict[str, Callable[[list[Row]], Decimal]] = {
    "extra_line": lambda _rows: Decimal("21.75"),
    "missing_lines": lambda rows: -sum_type(rows, "web_search"),
    "regional_uplift": lambda rows: sum_model(rows, OPUS) / 10,
    "contract_discount": lambda rows: -sum_type(rows, "tokens") / 10,
    "undeclared_factor": lambda rows: -sum_model(rows, SONNET) * Decimal("0.07"),
    "renamed_model": lambda _rows: Decimal(0),
    "late_lines": lambda rows: -sum_type(rows, "code_execution"),
    "empty_first_read": lambda rows: -sum_legacy(rows)["USD"],
}


@pytest.mark.parametrize("name", CHECKS)
def test_an_effects_amount_is_what_its_description_says(client: TestClient, name: str) -> None:
    before = read_legacy(client)
    add_anthropic(client, name, **SUITES[name])
    after = read_legacy(client)
    expected = CHECKS[name](before)
    assert subtract_totals(sum_legacy(after), sum_legacy(before)).get("USD", 0) == expected


def test_a_contract_discount_leaves_the_list_amount(client: TestClient) -> None:
    add_anthropic(client, "contract_discount", parameters={"ratio": "0.88"})
    for row in read_analytics(client, "cost_type"):
        ratio = Decimal("0.88") if row["group"]["cost_type"] == "tokens" else 1
        amount, listed = Decimal(row["cost"]["amount"]), Decimal(row["cost"]["list_amount"])
        assert amount == listed * ratio > 0


def test_the_reports_state_region_and_context_window(client: TestClient) -> None:
    for name in ("regional_uplift", "long_context"):
        add_anthropic(client, name, **SUITES[name])
    rows = [row for row in read_legacy(client) if row["cost_type"] == "tokens"]
    regions = {(row["model"], row["inference_geo"]) for row in rows}
    opus = "claude-opus-4-5-20251101"
    assert {geo for model, geo in regions if model == opus} == {"us"}
    assert {geo for model, geo in regions if model != opus} == {"not_available"}
    windows = {(row["model"], row["context_window"]) for row in rows}
    assert windows >= {("claude-sonnet-4-5-20250929", name) for name in ("0-200k", "200k-1M")}
    grouped = read_analytics(client, "model", "context_window", "inference_geo")
    assert {row["group"]["context_window"] for row in grouped} == {None, "0-200k", "200k-1M"}
    assert {row["group"]["inference_geo"] for row in grouped} == {None, "not_available", "us"}


def test_later_pages_belong_to_the_read_of_the_first(client: TestClient) -> None:
    whole = read_analytics(client)
    add_anthropic(client, "empty_first_read")
    assert read_analytics(client) == []
    pages: list[Row] = []
    token = None
    while True:
        params: Row = {"time_bucket_width": "1d", "limit": 7, "order_by": "time"}
        more: Row = {"page": token} if token else {}
        page = read_json(client, ANALYTICS, {**params, **more, "group_by[]": BY_CLASS})
        pages += page["data"]
        token = page["next_page"]
        if token is None:
            break
    assert pages == whole
    read = read_amounts(client, provider="anthropic")["days"][0]["read"]
    assert read == 2


def test_the_bill_of_a_partial_read_is_the_same_on_every_page(client: TestClient) -> None:
    whole = read_analytics(client)
    add_anthropic(client, "partial_first_read")
    part = read_analytics(client)
    assert 0 < sum_analytics(part)["USD"] < sum_analytics(whole)["USD"]
    assert drop_zeros(sum_caused(read_stated(client))) == subtract_totals(
        sum_analytics(part), sum_analytics(whole)
    )
    assert read_analytics(client) == whole


def test_two_currencies_are_never_one_row(client: TestClient) -> None:
    before = sum_legacy(read_legacy(client))
    add_anthropic(client, "currency", models=[OPUS])
    caused = sum_caused(read_stated(client))
    assert set(caused) == {"USD", "EUR"}
    # Grouped by workspace alone, both currencies are in every group.
    assert subtract_totals(sum_analytics(read_analytics(client, "workspace_id")), before) == caused
    assert subtract_totals(sum_legacy(read_legacy(client)), before) == caused


@pytest.mark.parametrize("name", ["images", "vector_storage", "long_cache_writes", "credit"])
def test_effects_of_another_provider_are_rejected_with_the_list(
    client: TestClient, name: str
) -> None:
    effect = {"org": ORG, "provider": "anthropic", "name": name}
    response = client.post(EFFECTS, json=effect)
    assert response.status_code == 422
    assert ", ".join(sorted(SUITES)) in response.json()["error"]


def test_stated_amounts_add_up_to_the_bill(client: TestClient) -> None:
    for name, fields in SUITES.items():
        add_anthropic(client, name, **fields)
    client.delete(EFFECTS, params={"org": "somebody_else"})
    found = read_amounts(client, provider="anthropic", read=100)
    total = sum_caused(found["amounts"])
    for day in found["days"]:
        for currency, amount in day["base"].items():
            total[currency] = total.get(currency, Decimal(0)) + Decimal(amount)
    billed: Totals = defaultdict(Decimal)
    for day in found["days"]:
        for currency, amount in day["billed"].items():
            billed[currency] += Decimal(amount)
    assert drop_zeros(total) == dict(billed)
    assert {row["day"] for row in found["amounts"]} == {FIRST, "2026-11-18", LAST}
