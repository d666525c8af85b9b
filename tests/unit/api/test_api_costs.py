"""Responses with cost: exact, each of one currency; what is wrong is rejected before a query."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fastapi.testclient import TestClient

from convergence.api.costs import reading
from support.api.env import ACME, ApiEnv

ROW = {"model": "gpt-5", "billed_cost": "0.1", "expected_cost": "0.1", "effective_cost": "0.1",
       "list_cost": "0.2", "currency": "USD", "basis": "computed"}  # fmt: skip
ROWS: list[dict[str, Any]] = [
    ROW,
    {**ROW, "model": "=HYPERLINK(1)", "effective_cost": "0.000000001", "list_cost": "-1"},
    {**ROW, "model": None, "billed_cost": None, "effective_cost": None, "list_cost": None},
]
TOTAL = {name: value for name, value in ROW.items() if name != "model"}


class Warehouse:
    project = "p"

    def sql(self, name: str) -> str:
        return name


@pytest.fixture
def asked(
    monkeypatch: pytest.MonkeyPatch, env: ApiEnv, services: Any
) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    seen: list[tuple[dict[str, Any], dict[str, Any]]] = []

    def run_file(_: object, path: str, *, identifiers: Any, params: Any) -> Any:
        seen.append((identifiers, params))
        empty = dict.fromkeys(("months", "unpriced", "shown_days", "connections"), "[]")
        rows, totals = json.dumps(ROWS), json.dumps([TOTAL])
        return [{"row_count": len(ROWS), "cost_rows": rows, "totals": totals, **empty}]

    monkeypatch.setattr(reading, "run_file", run_file)
    vars(services)["warehouse"] = Warehouse()
    monkeypatch.setattr(services, "close", _nothing)
    return seen


async def _nothing() -> None:
    pass


QUERY = {"start_date": "2025-11-25", "end_date": "2025-11-25", "group_by": "model"}


def test_amounts_are_decimal_text(
    client: TestClient, env: ApiEnv, asked: list[tuple[dict[str, Any], dict[str, Any]]]
) -> None:
    answer = client.get(f"/costs/{ACME}", params=QUERY, headers=env.headers["acme"])
    body = answer.json()
    assert (body["basis"], body["currency"]) == ("computed", "USD")
    assert [row["cost"] for row in body["rows"]] == ["0.1", "0.000000001", None]
    assert body["totals"] == [{**TOTAL, "cost": "0.1"}]
    identifiers, params = asked[0]
    assert identifiers["dataset"] == "acme_corp_dev"
    assert (identifiers["costs"], identifiers["groupings"]) == ("cost_daily", ["model"])
    assert params["org_slug"] == ACME


def test_names_and_values_of_a_query_are_parameters(
    client: TestClient, env: ApiEnv, asked: list[tuple[dict[str, Any], dict[str, Any]]]
) -> None:
    query = {**QUERY, "group_by": "tag:a`b,day", "filter": ["model=x'y", "tag:t=1"]}
    assert (
        client.get(f"/costs/{ACME}", params=query, headers=env.headers["acme"]).status_code == 200
    )
    identifiers, params = asked[0]
    assert identifiers["groupings"] == ["tag_0", "day"]
    assert [one["dimension"] for one in identifiers["filters"]] == ["model", "tag_1"]
    assert (params["tag_0"], params["tag_1"]) == ('$."a`b"', '$."t"')
    assert (params["values_0"], params["values_1"]) == (["x'y"], ["1"])


def test_csv_holds_no_formula(
    client: TestClient, env: ApiEnv, asked: list[tuple[dict[str, Any], dict[str, Any]]]
) -> None:
    query = {**QUERY, "format": "csv"}
    answer = client.get(f"/costs/{ACME}", params=query, headers=env.headers["acme"])
    assert answer.headers["content-type"].startswith("text/csv")
    lines = answer.text.splitlines()
    assert lines[0].startswith("model,cost,list_cost,billed_cost,currency,basis,")
    assert lines[1].startswith("gpt-5,0.1,0.2,0.1,USD,computed")
    assert lines[2].startswith("'=HYPERLINK(1),0.000000001,-1,")


@pytest.mark.parametrize(
    "query",
    [
        {"group_by": "day,colour"},
        {"group_by": 'tag:a"b'},
        {"filter": "model"},
        {"filter": "colour=red"},
        {"page": "2"},
        {"basis": "guessed"},
        {"currency": "usd"},
        {"format": "xml"},
        {"start_date": "2025-11-25"},
        {"start_date": "2025-11-26", "end_date": "2025-11-25"},
        {"start_date": "2020-01-01", "end_date": "2025-11-25"},
        {"start_date": "x", "end_date": "2025-11-25"},
    ],
)
def test_wrong_questions_are_refused_before_the_warehouse_is_asked(
    client: TestClient,
    env: ApiEnv,
    asked: list[tuple[dict[str, Any], dict[str, Any]]],
    query: dict[str, str],
) -> None:
    answer = client.get(f"/costs/{ACME}", params=query, headers=env.headers["acme"])
    assert answer.status_code == 422
    assert not asked
