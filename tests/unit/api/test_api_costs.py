"""Responses with cost: exact, each of one basis and currency."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from fastapi.testclient import TestClient

from convergence.api.costs import reading
from support.api.env import ACME, ApiEnv

ROWS: list[dict[str, Any]] = [
    {"day": date(2025, 11, 25), "model": "gpt-5", "cost": Decimal("0.100000000"),
     "list_cost": Decimal("0.2"), "billed_cost": None, "basis": "computed", "currency": "USD"},
    {"day": date(2025, 11, 25), "model": "=HYPERLINK(1)", "cost": Decimal("1E-9"),
     "list_cost": Decimal(-1), "billed_cost": None, "basis": "computed", "currency": "USD"},
    {"day": date(2025, 11, 25), "model": None, "cost": None, "list_cost": None,
     "billed_cost": None, "basis": "computed", "currency": "USD"},
]  # fmt: skip
NO_PRICE = {"day": date(2025, 11, 25), "provider": "openai", "model": None,
            "reason": "unknown model", "requests": 3}  # fmt: skip


class Warehouse:
    project = "p"

    def sql(self, name: str) -> str:
        return name


@pytest.fixture
def asked(
    monkeypatch: pytest.MonkeyPatch, env: ApiEnv, services: Any
) -> list[tuple[str, dict[str, Any]]]:
    seen: list[tuple[str, dict[str, Any]]] = []

    def run_file(_: object, path: str, *, identifiers: Any, params: Any) -> Any:
        seen.append((identifiers["dataset"], params))
        return ROWS if path.endswith("cost_rows.sql") else [NO_PRICE]

    monkeypatch.setattr(reading, "run_file", run_file)
    vars(services)["warehouse"] = Warehouse()
    monkeypatch.setattr(services, "close", _nothing)
    return seen


async def _nothing() -> None:
    pass


QUERY = {"start_date": "2025-11-25", "end_date": "2025-11-25", "group_by": "day,model"}


def test_cost_is_decimal_text_and_names_its_basis_and_currency(
    client: TestClient, env: ApiEnv, asked: list[tuple[str, dict[str, Any]]]
) -> None:
    answer = client.get(f"/costs/{ACME}", params=QUERY, headers=env.headers["acme"])
    body = answer.json()
    assert (body["basis"], body["currency"]) == ("computed", "USD")
    assert [row["cost"] for row in body["rows"]] == ["0.100000000", "0.000000001", None]
    assert body["totals"] == [{"basis": "computed", "currency": "USD", "cost": "0.100000001"}]
    assert set(body["rows"][0]) == {
        "day", "model", "cost", "list_cost", "billed_cost", "basis", "currency",
    }  # fmt: skip
    assert body["unpriced"][0]["reason"] == "unknown model"
    dataset, params = asked[0]
    assert dataset == "acme_corp_dev"
    assert (params["by_day"], params["by_model"], params["by_project"]) == (True, True, False)
    assert params["basis"] == ""


def test_several_currencies_have_a_total_each_and_none_in_common(
    client: TestClient,
    env: ApiEnv,
    asked: list[tuple[str, dict[str, Any]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    euros = {**ROWS[0], "currency": "EUR", "cost": Decimal(2)}
    monkeypatch.setitem(globals(), "ROWS", [*ROWS, euros])
    body = client.get(f"/costs/{ACME}", params=QUERY, headers=env.headers["acme"]).json()
    assert body["currency"] is None
    assert [total["currency"] for total in body["totals"]] == ["EUR", "USD"]


def test_csv_holds_no_formula(
    client: TestClient, env: ApiEnv, asked: list[tuple[str, dict[str, Any]]]
) -> None:
    query = {**QUERY, "format": "csv"}
    answer = client.get(f"/costs/{ACME}", params=query, headers=env.headers["acme"])
    assert answer.headers["content-type"].startswith("text/csv")
    lines = answer.text.splitlines()
    assert lines[0] == "day,model,cost,list_cost,billed_cost,currency,basis"
    assert lines[1] == "2025-11-25,gpt-5,0.100000000,0.2,,USD,computed"
    assert lines[2].startswith("2025-11-25,'=HYPERLINK(1),0.000000001,-1,")


@pytest.mark.parametrize(
    "query",
    [
        {"group_by": "day,colour"},
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
    asked: list[tuple[str, dict[str, Any]]],
    query: dict[str, str],
) -> None:
    answer = client.get(f"/costs/{ACME}", params=query, headers=env.headers["acme"])
    assert answer.status_code == 422
    assert not asked
