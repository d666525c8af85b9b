"""The OpenAI stand-in: documented shapes, stable data, and costs that tie out with usage."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from genai_prices import Usage, calc_price
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from convergence_sandbox.providers import create_app
from convergence_sandbox.providers.openai.endpoints import ENDPOINTS

DATA = Path(__file__).parents[3] / "tests" / "data" / "openai"
BASE = "/openai/v1/organization"
DAY = 86_400
START = 1_794_873_600  # 2026-11-17
COUNTED = ("input_tokens", "output_tokens", "input_cached_tokens", "input_cache_write_tokens")

Params = dict[str, Any]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with TestClient(create_app(tmp_path_factory.mktemp("providers"))) as found:
        yield found


def get_json(
    client: TestClient, path: str, params: Params, *, seed: str = "acme"
) -> dict[str, Any]:
    headers = {"authorization": f"Bearer sk-admin-sandbox-{seed}"}
    response = client.get(f"{BASE}/{path}", params=params, headers=headers)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = json.loads(response.text, parse_float=Decimal)
    return found


def window(days: int = 1, *, start: int = START) -> Params:
    return {"start_time": start, "end_time": start + days * DAY, "limit": 31}


def rows(page: dict[str, Any]) -> list[dict[str, Any]]:
    return [row for bucket in page["data"] for row in bucket["results"]]


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_results_have_the_fields_of_recorded_ones(client: TestClient, endpoint: str) -> None:
    name = "completions_page1" if endpoint == "completions" else endpoint
    recorded = json.loads((DATA / f"usage_{name}.json").read_text())
    dimensions = list(ENDPOINTS[endpoint].dimensions.group_by)
    page = get_json(client, f"usage/{endpoint}", {**window(14), "group_by": dimensions})
    assert set(page) == set(recorded)
    assert set(page["data"][0]) == set(recorded["data"][0])
    expected = {key: type(value) for row in rows(recorded) for key, value in row.items()}
    found = rows(page)
    assert found
    for row in found:
        assert row["object"] == rows(recorded)[0]["object"]
        assert set(row) <= set(expected)
        assert set(expected) - set(row) <= {
            "input_cache_write_30m_tokens",
            "input_cache_write_12h_tokens",
        }


def test_costs_have_the_fields_of_recorded_ones(client: TestClient) -> None:
    recorded = rows(json.loads((DATA / "costs_line_item.json").read_text()))
    page = get_json(client, "costs", {**window(3), "group_by": ["line_item", "project_id"]})
    found = rows(page)
    assert {frozenset(row) for row in found} == {frozenset(row) for row in recorded}
    assert {row["amount"]["currency"] for row in found} == {"usd"}
    assert {type(row["amount"]["value"]) for row in found} == {Decimal, str}
    ungrouped = rows(get_json(client, "costs", window(3)))
    assert "quantity" not in ungrouped[0]
    assert len(ungrouped) == 3


@settings(max_examples=25)
@given(
    seed=st.from_regex(r"[a-z0-9][a-z0-9_]{1,20}[a-z0-9]", fullmatch=True),
    day=st.dates(date(2024, 6, 1), date(2028, 12, 31)),
    endpoint=st.sampled_from(sorted(ENDPOINTS)),
)
def test_any_seed_and_day_always_give_the_same(
    client: TestClient, seed: str, day: date, endpoint: str
) -> None:
    start = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
    params = window(2, start=start)
    first = get_json(client, f"usage/{endpoint}", params, seed=seed)
    assert get_json(client, f"usage/{endpoint}", params, seed=seed) == first
    assert [bucket["start_time"] for bucket in first["data"]] == [start, start + DAY]
    for row in rows(first) if endpoint == "completions" else []:
        assert row["input_tokens"] == (
            row["input_uncached_tokens"]
            + row["input_cached_tokens"]
            + row["input_cache_write_tokens"]
        )
        assert row["input_text_tokens"] == row["input_uncached_tokens"]
        assert row["input_tokens"] // row["num_model_requests"] < 272_000


def test_orgs_and_days_differ(client: TestClient) -> None:
    payload = {
        json.dumps(rows(get_json(client, "usage/completions", window(start=start), seed=seed)))
        for seed in ("acme", "globex", "initech")
        for start in (START, START + DAY, START + 2 * DAY)
    }
    assert len(payload) >= 8


def test_several_projects_models_tiers_and_batches_are_used(client: TestClient) -> None:
    keys = ["project_id", "model", "batch", "service_tier"]
    found = rows(get_json(client, "usage/completions", {**window(7), "group_by": keys}))
    assert len({row["project_id"] for row in found}) >= 2
    assert len({row["model"] for row in found}) >= 5
    assert {row["batch"] for row in found} == {True, False}
    assert {row["service_tier"] for row in found} == {"default", "flex", "priority"}
    assert any(row["input_cached_tokens"] for row in found)
    assert any(row["input_cache_write_tokens"] for row in found)


def test_some_seeds_have_empty_days_and_their_buckets_are_there(client: TestClient) -> None:
    idle = 0
    for seed in ("acme", "globex", "initech", "umbrella", "hooli", "stark"):
        page = get_json(client, "usage/completions", window(31, start=START - 20 * DAY), seed=seed)
        assert len(page["data"]) == 31
        idle += sum(bucket["results"] == [] for bucket in page["data"])
    assert 0 < idle < 60


def test_only_an_unpriced_seed_uses_a_model_that_has_no_price(client: TestClient) -> None:
    params = {**window(2), "group_by": ["model"]}
    known = {row["model"] for row in rows(get_json(client, "usage/completions", params))}
    found = rows(get_json(client, "usage/completions", params, seed="unpriced_co"))
    odd = {row["model"] for row in found} - known
    assert odd == {"gpt-sandbox-preview-2024-10-01"}
    costs = rows(
        get_json(client, "costs", {**window(2), "group_by": "line_item"}, seed="unpriced_co")
    )
    assert not any(row["line_item"].startswith("gpt-sandbox") for row in costs)
    with pytest.raises(LookupError):
        calc_price(Usage(input_tokens=1), model_ref=odd.pop(), provider_id="openai")


def context_of(row: dict[str, Any]) -> dict[str, str]:
    if row["batch"]:
        return {"processing": "batch"}
    return {} if row["service_tier"] == "default" else {"service_tier": row["service_tier"]}


def independent_cost(client: TestClient, day: int, seed: str) -> dict[str, Decimal]:
    """Cost per model by another price book, one request's worth of price at a time."""
    moment = datetime.fromtimestamp(day, UTC)
    totals: dict[str, Decimal] = defaultdict(Decimal)
    keys = ["model", "batch", "service_tier"]
    found = rows(
        get_json(client, "usage/completions", {**window(start=day), "group_by": keys}, seed=seed)
    )
    found += [
        {**row, "batch": False, "service_tier": "default"}
        for row in rows(
            get_json(
                client, "usage/embeddings", {**window(start=day), "group_by": "model"}, seed=seed
            )
        )
    ]
    for row in found:
        price = calc_price(
            Usage(input_tokens=1, output_tokens=1),
            model_ref=row["model"],
            provider_id="openai",
            genai_request_timestamp=moment,
            price_context=context_of(row),
        ).model_price
        written, cached = row.get("input_cache_write_tokens", 0), row.get("input_cached_tokens", 0)
        uncached = row["input_tokens"] - written - cached
        cost = (
            uncached * base(price.input_mtok)
            + cached * base(price.cache_read_mtok)
            + written * base(price.cache_write_mtok)
            + row.get("output_tokens", 0) * base(price.output_mtok)
        )
        totals[row["model"]] += cost / 1_000_000
    return totals


def base(price: Any) -> Decimal:
    found = getattr(price, "base", price)
    return Decimal(0) if found is None else found


@pytest.mark.parametrize("seed", ["acme", "globex", "initech"])
def test_costs_are_usage_times_public_prices_exactly(client: TestClient, seed: str) -> None:
    for day in range(START, START + 4 * DAY, DAY):
        billed: dict[str, Decimal] = defaultdict(Decimal)
        lines = {**window(start=day), "group_by": ["line_item"]}
        for row in rows(get_json(client, "costs", lines, seed=seed)):
            billed[row["line_item"].split(", ")[0]] += Decimal(row["amount"]["value"])
        for model, cost in independent_cost(client, day, seed).items():
            assert billed[model] == cost, (seed, day, model)


def test_web_searches_cost_ten_dollars_a_thousand(client: TestClient) -> None:
    calls = sum(
        row["num_requests"] for row in rows(get_json(client, "usage/web_search_calls", window(5)))
    )
    lines = rows(get_json(client, "costs", {**window(5), "group_by": "line_item"}))
    billed = [row for row in lines if row["line_item"] == "web search tool calls"]
    assert sum(Decimal(row["amount"]["value"]) for row in billed) == Decimal(calls) / 100
    assert {row["quantity_unit"] for row in billed} == {None}


@pytest.mark.parametrize("path", ["usage/completions", "costs"])
def test_pages_together_are_the_whole(client: TestClient, path: str) -> None:
    params = {**window(11), "group_by": ["project_id"]}
    whole = get_json(client, path, params)
    assert (whole["has_more"], whole["next_page"]) == (False, None)
    parts, page = [], None
    for _ in range(4):
        payload = {**params, "limit": 3} | ({"page": page} if page else {})
        part = get_json(client, path, payload)
        parts += part["data"]
        page = part["next_page"]
        assert part["has_more"] is (page is not None)
    assert page is None
    assert parts == whole["data"]


@pytest.mark.parametrize(("width", "count"), [("1h", 24), ("1m", 1_440)])
def test_hours_and_minutes_add_up_to_their_day(client: TestClient, width: str, count: int) -> None:
    day = rows(get_json(client, "usage/completions", window()))[0]
    parts = get_json(
        client,
        "usage/completions",
        {**window(), "bucket_width": width, "limit": 168 if width == "1h" else 1_440},
    )
    assert len(parts["data"]) == count
    for name in (*COUNTED, "num_model_requests"):
        assert sum(row[name] for row in rows(parts)) == day[name]


def test_groups_add_up_and_keys_not_requested_are_null(client: TestClient) -> None:
    whole = rows(get_json(client, "usage/completions", window()))[0]
    assert {whole[key] for key in ("project_id", "model", "batch", "user_id")} == {None}
    for key in ENDPOINTS["completions"].dimensions.group_by:
        found = rows(get_json(client, "usage/completions", {**window(), "group_by": [key]}))
        for name in COUNTED:
            assert sum(row[name] for row in found) == whole[name]


@pytest.mark.parametrize("style", ["group_by", "group_by[]"])
def test_arrays_are_read_with_and_without_brackets(client: TestClient, style: str) -> None:
    found = rows(get_json(client, "usage/completions", {**window(), style: ["model", "batch"]}))
    assert len({(row["model"], row["batch"]) for row in found}) == len(found) > 3


def test_filters_keep_what_they_name(client: TestClient) -> None:
    every = rows(
        get_json(client, "usage/completions", {**window(), "group_by": ["model", "batch"]})
    )
    model = every[0]["model"]
    payload = {**window(), "group_by": ["model", "batch"], "models[]": [model], "batch": "false"}
    kept = rows(get_json(client, "usage/completions", payload))
    assert kept == [row for row in every if row["model"] == model and not row["batch"]]
    lines = {**window(), "group_by": "line_item", "line_items": ["web search tool calls"]}
    assert len(rows(get_json(client, "costs", lines))) <= 1


def test_without_an_end_the_window_reaches_to_now(client: TestClient) -> None:
    start = int((datetime.now(UTC) - timedelta(days=3)).timestamp()) // DAY * DAY
    page = get_json(client, "costs", {"start_time": start})
    assert len(page["data"]) == 4


WRONG: list[tuple[str, Params, str]] = [
    ("usage/completions", {}, "start_time"),
    ("usage/completions", {"start_time": "yesterday"}, "start_time"),
    ("usage/completions", {"start_time": START, "end_time": START}, "end_time"),
    ("usage/completions", {"start_time": START, "limit": 32}, "limit"),
    ("usage/completions", {"start_time": START, "limit": 0}, "limit"),
    ("usage/completions", {"start_time": START, "limit": 169, "bucket_width": "1h"}, "limit"),
    ("usage/completions", {"start_time": START, "bucket_width": "1w"}, "bucket_width"),
    ("usage/completions", {"start_time": START, "group_by": "line_item"}, "group_by"),
    ("usage/vector_stores", {"start_time": START, "group_by": "model"}, "group_by"),
    ("usage/vector_stores", {"start_time": START, "models": "x"}, "models"),
    ("usage/completions", {"start_time": START, "page": "page_x"}, "page"),
    ("usage/completions", {"start_time": START, "colour": "red"}, "colour"),
    ("costs", {"start_time": START, "bucket_width": "1h"}, "bucket_width"),
    ("costs", {"start_time": START, "limit": 181}, "limit"),
    ("costs", {"start_time": START, "group_by": ["user_id", "project_id"]}, "group_by"),
]


@pytest.mark.parametrize(("path", "params", "param"), WRONG, ids=str)
def test_wrong_parameters_are_rejected_in_openais_form(
    client: TestClient, path: str, params: Params, param: str
) -> None:
    headers = {"authorization": "Bearer sk-admin-sandbox-acme"}
    response = client.get(f"{BASE}/{path}", params=params, headers=headers)
    assert response.status_code == 400
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["type"], error["param"]) == ("invalid_request_error", param)


def test_a_page_token_belongs_to_its_own_query(client: TestClient) -> None:
    page = get_json(client, "costs", {**window(5), "limit": 2})["next_page"]
    headers = {"authorization": "Bearer sk-admin-sandbox-acme"}
    params = {**window(9), "limit": 2, "page": page}
    assert client.get(f"{BASE}/costs", params=params, headers=headers).status_code == 400


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ({}, 401),
        ({"authorization": "Bearer"}, 401),
        ({"authorization": "Basic c2s="}, 401),
        ({"authorization": "Bearer sk-nothing"}, 401),
        ({"authorization": "Bearer sk-admin-sandbox-"}, 401),
        ({"authorization": "Bearer sk-proj-abc"}, 403),
        ({"authorization": "Bearer sk-admin-sandbox-acme"}, 200),
    ],
)
def test_only_an_admin_key_reads_costs(
    client: TestClient, header: dict[str, str], status: int
) -> None:
    response = client.get(f"{BASE}/costs", params={"start_time": START, "limit": 1}, headers=header)
    assert response.status_code == status
    if status == 403:
        assert response.json() == json.loads((DATA / "error_403_not_admin.json").read_text())
    if status == 401:
        assert response.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("key", ["sk-proj-abc", "sk-admin-sandbox-acme"])
def test_models_are_listed(client: TestClient, key: str) -> None:
    recorded = json.loads((DATA / "models.json").read_text())
    response = client.get("/openai/v1/models", headers={"authorization": f"Bearer {key}"}).json()
    assert set(response) == set(recorded)
    assert set(response["data"][0]) == set(recorded["data"][0])


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_an_unknown_path_is_a_404_in_openais_form(client: TestClient, method: str) -> None:
    response = client.request(method, f"{BASE}/usage/decisions-2")
    assert response.status_code == 404
    assert "Invalid URL" in response.json()["error"]["message"]
