"""The Anthropic stand-in: documented shapes, stable data, and costs that tie out with usage."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from genai_prices import Usage, calc_price
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from convergence_sandbox.providers import create_app
from convergence_sandbox.providers.anthropic.analytics import BETA
from convergence_sandbox.providers.anthropic.prices import VARIANTS

DATA = Path(__file__).parents[3] / "tests" / "data" / "anthropic"
ORGANIZATIONS = "/anthropic/v1/organizations"
USAGE, COST = f"{ORGANIZATIONS}/usage_report/messages", f"{ORGANIZATIONS}/cost_report"
NEW_USAGE, NEW_COST = f"{ORGANIZATIONS}/analytics/usage", f"{ORGANIZATIONS}/analytics/cost"
DAY = date(2026, 11, 17)
PRICED_BY = ["model", "service_tier", "context_window"]

Params = dict[str, Any]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with TestClient(create_app(tmp_path_factory.mktemp("providers"))) as found:
        yield found


def headers(seed: str = "acme") -> dict[str, str]:
    return {
        "x-api-key": f"sk-ant-admin-sandbox-{seed}",
        "anthropic-version": "2023-06-01",
        "anthropic-beta": BETA,
    }


def get_json(
    client: TestClient, path: str, params: Params, *, seed: str = "acme"
) -> dict[str, Any]:
    response = client.get(path, params=params, headers=headers(seed))
    assert response.status_code == 200, response.text
    found: dict[str, Any] = json.loads(response.text, parse_float=Decimal)
    return found


def window(days: int = 1, *, first: date = DAY) -> Params:
    ends = first + timedelta(days=days)
    return {"starting_at": f"{first}T00:00:00Z", "ending_at": f"{ends}T00:00:00Z", "limit": 31}


def flat(days: int = 1, *, first: date = DAY) -> Params:
    return {**window(days, first=first), "limit": 1000, "time_bucket_width": "1d"}


def rows(page: dict[str, Any]) -> list[dict[str, Any]]:
    return [row for bucket in page["data"] for row in bucket["results"]]


def recorded(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DATA / name).read_text())
    return found


def shape(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: shape(inner) for key, inner in value.items()}
    return None


def test_usage_results_have_the_fields_of_recorded_ones(client: TestClient) -> None:
    known = recorded("usage_report_messages_page1.json")
    page = get_json(
        client, USAGE, {**window(3), "group_by[]": ["model", "workspace_id", "api_key_id"]}
    )
    assert set(page) == set(known)
    assert set(page["data"][0]) == set(known["data"][0])
    assert {json.dumps(shape(row), sort_keys=True) for row in rows(page)} == {
        json.dumps(shape(row), sort_keys=True) for row in rows(known)
    }


def test_cost_results_have_the_fields_of_recorded_ones(client: TestClient) -> None:
    known = rows(recorded("cost_report.json"))
    found = rows(
        get_json(client, COST, {**window(3), "group_by[]": ["workspace_id", "description"]})
    )
    assert {frozenset(row) for row in found} == {frozenset(row) for row in known}
    assert all(isinstance(row["amount"], str) for row in found)
    assert {row["cost_type"] for row in found} == {"tokens", "web_search", "code_execution"}
    (one,) = rows(get_json(client, COST, window()))
    assert [name for name, value in one.items() if value is not None] == ["amount", "currency"]


@pytest.mark.parametrize(("path", "name"), [(NEW_USAGE, "usage"), (NEW_COST, "cost")])
def test_analytics_rows_have_the_fields_of_recorded_ones(
    client: TestClient, path: str, name: str
) -> None:
    known = recorded(f"analytics_{name}.json")
    page = get_json(client, path, {**flat(2), "group_by[]": PRICED_BY})
    assert set(page) == set(known)
    assert {json.dumps(shape(row), sort_keys=True) for row in page["data"]} == {
        json.dumps(shape(row), sort_keys=True) for row in known["data"]
    }


@settings(max_examples=15)
@given(
    seed=st.from_regex(r"[a-z0-9][a-z0-9_]{1,20}[a-z0-9]", fullmatch=True),
    day=st.dates(date(2026, 1, 1), date(2028, 12, 31)),
)
def test_any_seed_and_day_always_give_the_same_in_both_generations(
    client: TestClient, seed: str, day: date
) -> None:
    old = get_json(client, USAGE, {**window(first=day), "group_by[]": PRICED_BY}, seed=seed)
    assert get_json(client, USAGE, {**window(first=day), "group_by[]": PRICED_BY}, seed=seed) == old
    new = get_json(client, NEW_USAGE, {**flat(first=day), "group_by[]": PRICED_BY}, seed=seed)[
        "data"
    ]
    payload = {tuple(row[key] for key in PRICED_BY): row for row in rows(old)}
    assert len(payload) == len(new)
    for row in new:
        same = payload[tuple(row["group"][key] for key in PRICED_BY)]
        assert (
            row["usage"].items()
            >= {
                name: same[name]
                for name in ("uncached_input_tokens", "cache_read_input_tokens", "cache_creation")
            }.items()
        )


def oracle(row: dict[str, Any]) -> Decimal:
    """An independent price book's cost of a usage row; base rates, so one request of no size."""
    writes = row["cache_creation"]
    price = calc_price(
        Usage(input_tokens=1),
        model_ref=row["model"],
        provider_id="anthropic",
        price_context={"processing": "batch"} if row["service_tier"] == "batch" else None,
    ).model_price
    rates = {name: getattr(price, name) for name in vars(price)}
    rates = {name: getattr(rate, "base", rate) for name, rate in rates.items()}
    parts = (
        (row["uncached_input_tokens"], "input_mtok"),
        (row["cache_read_input_tokens"], "cache_read_mtok"),
        (writes["ephemeral_5m_input_tokens"], "cache_write_mtok"),
        (writes["ephemeral_1h_input_tokens"], "cache_write_1h_mtok"),
        (row["output_tokens"], "output_mtok"),
    )
    return sum((tokens * Decimal(rates[name]) for tokens, name in parts), Decimal(0)) / 10**6


@pytest.mark.parametrize("seed", ["acme", "globex", "priority_inc", "unpriced_co"])
def test_costs_are_usage_at_public_list_prices(client: TestClient, seed: str) -> None:
    span = window(14, first=date(2026, 11, 1))
    usage = rows(get_json(client, USAGE, {**span, "group_by[]": PRICED_BY}, seed=seed))
    expected: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    searches = 0
    for row in usage:
        if row["service_tier"] != "priority" and "preview" not in row["model"]:
            expected[row["model"], row["service_tier"]] += oracle(row)
        searches += row["server_tool_use"]["web_search_requests"]
    found: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    tools: dict[str, Decimal] = defaultdict(Decimal)
    for row in rows(get_json(client, COST, {**span, "group_by[]": ["description"]}, seed=seed)):
        usd = Decimal(row["amount"]) / 100
        if row["cost_type"] == "tokens":
            found[row["model"], row["service_tier"]] += usd
        else:
            tools[row["cost_type"]] += usd
    assert found == expected
    assert tools["web_search"] == Decimal(searches) / 100 > 0
    assert tools["code_execution"] > 0


def test_long_context_had_its_own_rates_until_its_beta_ended(client: TestClient) -> None:
    def windows(day: date) -> set[str]:
        page = get_json(client, USAGE, {**window(5, first=day), "group_by[]": "context_window"})
        return {row["context_window"] for row in rows(page)}

    assert windows(date(2026, 4, 20)) == {"0-200k", "200k-1M"}
    assert windows(date(2026, 5, 2)) == {"0-200k"}
    (long,) = [one for one in VARIANTS if one.context_window == "200k-1M"]
    assert long.rates == {
        "uncached": Decimal(6),
        "cache_read": Decimal("0.6"),
        "write_5m": Decimal("7.5"),
        "write_1h": Decimal(12),
        "output": Decimal("22.5"),
    }


def test_the_default_workspace_is_null_in_one_generation_and_has_an_id_in_the_other(
    client: TestClient,
) -> None:
    old = rows(get_json(client, USAGE, {**window(), "group_by[]": "workspace_id"}))
    new = get_json(client, NEW_USAGE, {**flat(), "group_by[]": "workspace_id"})["data"]
    old_ids = {row["workspace_id"] for row in old}
    new_ids = {row["group"]["workspace_id"] for row in new}
    assert None in old_ids
    assert None not in new_ids
    assert len(old_ids) == len(new_ids)


def test_a_discount_shows_in_the_new_amount_only_and_only_on_tokens(client: TestClient) -> None:
    page = get_json(client, NEW_COST, {**flat(), "group_by[]": ["cost_type"]}, seed="discount_co")
    for row in page["data"]:
        amount, listed = Decimal(row["cost"]["amount"]), Decimal(row["cost"]["list_amount"])
        share = Decimal("0.95") if row["group"]["cost_type"] == "tokens" else 1
        assert amount == listed * share > 0


def test_pages_hold_each_row_once_and_in_time_order_when_requested(client: TestClient) -> None:
    params = {**flat(5), "limit": 7, "order_by": "time", "group_by[]": PRICED_BY}
    found, token = [], None
    while True:
        page = get_json(client, NEW_USAGE, {**params, **({"page": token} if token else {})})
        found += page["data"]
        token = page["next_page"]
        assert page["has_more"] == (token is not None)
        if token is None:
            break
    assert len(found) > 20
    assert len({json.dumps(row["group"]) + row["starting_at"] for row in found}) == len(found)
    assert [row["starting_at"] for row in found] == sorted(row["starting_at"] for row in found)
    unasked = get_json(client, NEW_USAGE, {**flat(5), "group_by[]": PRICED_BY})["data"]
    assert [row["starting_at"] for row in unasked] != sorted(r["starting_at"] for r in unasked)
    assert len(get_json(client, NEW_USAGE, {**flat(5), "limit": 20})["data"]) == 5


def test_buckets_come_oldest_first_with_empty_ones_and_follow_a_token(client: TestClient) -> None:
    params = {**window(10), "limit": 4}
    first = get_json(client, USAGE, params)
    second = get_json(client, USAGE, {**params, "page": first["next_page"]})
    third = get_json(client, USAGE, {**params, "page": second["next_page"]})
    starts = [one["starting_at"] for page in (first, second, third) for one in page["data"]]
    days = [DAY + timedelta(days=count) for count in range(10)]
    assert starts == [f"{day}T00:00:00Z" for day in days]
    assert third["next_page"] is None
    response = client.get(
        USAGE, params={**window(9), "page": first["next_page"]}, headers=headers()
    )
    assert response.status_code == 400


def test_hours_add_up_to_their_day(client: TestClient) -> None:
    (day,) = get_json(client, NEW_COST, flat())["data"]
    hours = get_json(client, NEW_COST, {**flat(), "time_bucket_width": "1h"})["data"]
    assert len(hours) == 24
    assert sum(Decimal(row["cost"]["amount"]) for row in hours) == Decimal(day["cost"]["amount"])
    (bucket,) = rows(get_json(client, USAGE, window()))
    parts = rows(get_json(client, USAGE, {**window(), "bucket_width": "1h"}))
    assert sum(row["output_tokens"] for row in parts) == bucket["output_tokens"]


@pytest.mark.parametrize(
    ("path", "params"),
    [
        (USAGE, {}),
        (USAGE, {**window(), "limit": 32}),
        (USAGE, {**window(), "group_by[]": "planet"}),
        (USAGE, {**window(), "group_by[]": "speed"}),
        (USAGE, {**window(), "starting_at": "2026-11-17T00:00:00"}),
        (USAGE, {**window(), "page": "page_x"}),
        (USAGE, {**window(), "surprise": "1"}),
        (COST, {**window(), "bucket_width": "1h"}),
        (NEW_USAGE, {**flat(), "limit": 1001}),
        (NEW_USAGE, flat(32)),
        (NEW_USAGE, flat(first=date(2025, 12, 31))),
        (NEW_USAGE, {"starting_at": "2026-11-17T00:00:00Z", "time_bucket_width": "1d"}),
        (NEW_USAGE, {**flat(), "group_by[]": [*PRICED_BY, "speed", "product", "actor"]}),
    ],
)
def test_wrong_parameters_are_rejected_in_anthropics_form(
    client: TestClient, path: str, params: Params
) -> None:
    response = client.get(path, params=params, headers=headers())
    assert response.status_code == 400
    assert set(response.json()) == {"type", "error", "request_id"}
    assert response.json()["error"]["type"] == "invalid_request_error"


def test_keys_open_what_they_should_and_nothing_else(client: TestClient) -> None:
    def get(path: str, **changed: str) -> Any:
        return client.get(path, params=window(), headers={**headers(), **changed})

    rejected = get(USAGE, **{"x-api-key": "sk-ant-admin-nobody"})
    known = recorded("error_401.json")
    assert (rejected.status_code, rejected.json()["error"]) == (401, known["error"])
    assert set(rejected.json()) == set(known)
    assert get(USAGE, **{"x-api-key": "sk-ant-api03-someone"}).status_code == 403
    assert get(USAGE, **{"anthropic-version": "1999-01-01"}).status_code == 400
    assert get(NEW_USAGE, **{"anthropic-beta": "other"}).status_code == 400
    me = client.get(f"{ORGANIZATIONS}/me", headers=headers()).json()
    assert set(me) == {"id", "name", "type"}
    assert client.get("/anthropic/v1/nothing", headers=headers()).status_code == 404
    assert client.get(f"{NEW_USAGE}_report", headers=headers()).status_code == 404


def test_models_are_listed_in_pages(client: TestClient) -> None:
    known = recorded("models.json")
    page = client.get("/anthropic/v1/models?limit=2", headers=headers()).json()
    assert set(page) == set(known)
    assert set(page["data"][0]) == set(known["data"][0])
    assert (page["has_more"], page["last_id"]) == (True, page["data"][-1]["id"])
    rest = client.get(f"/anthropic/v1/models?after_id={page['last_id']}", headers=headers()).json()
    assert (len(rest["data"]), rest["has_more"]) == (1, False)
