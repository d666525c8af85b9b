"""The switches of bill effects: reads, days, pages, restarts, rejections, declared files."""

from __future__ import annotations

import os
import sys
from decimal import Decimal
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from bills.client import (
    BY_LINE,
    COSTS,
    EFFECTS,
    FIRST,
    ORG,
    SUITES,
    Row,
    add_effect,
    compare_totals,
    read_amounts,
    read_costs,
    read_page,
    sum_caused,
    sum_costs,
    sum_model,
)
from convergence_sandbox.providers import anthropic, create_app, openai
from convergence_sandbox.providers.bills.line import BillSource
from stack.guarded import run


def test_the_first_read_is_empty_and_the_second_whole(client: TestClient) -> None:
    whole = read_costs(client)
    add_effect(client, "empty_first_read", first_day="2026-11-18")
    first = read_page(client, COSTS, group_by=BY_LINE)
    assert [bool(bucket["results"]) for bucket in first["data"]] == [True, False, False]
    assert read_amounts(client)["days"][1]["read"] == 1
    assert read_costs(client) == whole
    assert read_amounts(client)["amounts"] == []
    assert sum_caused(read_amounts(client, read=1)["amounts"])["USD"] < 0


def test_the_check_of_a_key_is_no_read(client: TestClient) -> None:
    add_effect(client, "empty_first_read")
    for _ in range(3):
        assert read_costs(client, group_by=[]) == []
    assert read_costs(client) == []
    assert read_costs(client) != []


def test_partial_reads_show_a_share_of_the_lines_and_always_the_same(client: TestClient) -> None:
    whole = read_costs(client)
    add_effect(client, "partial_first_read", parameters={"reads": 2, "share": "0.4"})
    first, second = read_costs(client), read_costs(client)
    assert first == second
    assert 0 < len(first) < len(whole)
    assert 0 < sum_costs(first)["USD"] < sum_costs(whole)["USD"]
    assert read_costs(client) == whole


def test_late_lines_come_when_the_clock_says(client: TestClient) -> None:
    whole = read_costs(client)
    add_effect(client, "late_lines", models=["gpt-6-astra"], parameters={"hours": 30})
    client.post("/_sandbox/clock", json={"now": "2026-11-20T05:59:59Z"})
    assert sum_model(read_costs(client), "gpt-6-astra") < sum_model(whole, "gpt-6-astra")
    late = {row["day"] for row in read_amounts(client)["amounts"]}
    assert late == {"2026-11-18", "2026-11-19"}
    client.post("/_sandbox/clock", json={"now": "2026-11-21T06:00:00Z"})
    assert read_costs(client) == whole
    assert read_amounts(client)["amounts"] == []
    assert read_amounts(client, as_of="2026-11-19T00:00:00Z")["amounts"] != []


def test_an_effect_touches_its_days_and_models_only(client: TestClient) -> None:
    before = read_costs(client)
    days = {"first_day": "2026-11-18", "last_day": "2026-11-18"}
    add_effect(client, "undeclared_factor", models=["gpt-4.1-*"], meters=["output_*"], **days)
    found = read_amounts(client)["amounts"]
    assert {(row["day"], row["model"], row["meter"]) for row in found} == {
        ("2026-11-18", "gpt-4.1-2025-04-14", "output_tokens")
    }
    assert compare_totals(before, read_costs(client)) == sum_caused(found)
    assert {row["quantity"] for row in found} == {"0"}


def test_effects_apply_by_stage_and_then_in_their_order(client: TestClient) -> None:
    before = read_costs(client)
    astra = sum_model(before, "gpt-6-astra")
    add_effect(client, "currency", parameters={"rate": "2"})
    add_effect(client, "regional_uplift", models=["gpt-6-astra"])
    add_effect(client, "contract_discount", models=["gpt-6-astra"], parameters={"ratio": "0.5"})
    found = read_amounts(client)["amounts"]
    assert sum_caused(found, effect="regional_uplift") == {"USD": astra / 10}
    discount = sum_caused(found, effect="contract_discount")
    assert discount == {"USD": -astra * Decimal("0.55")}
    assert sum_caused(found, effect="currency")["EUR"] == sum_costs(read_costs(client))["EUR"]


def test_pages_of_a_changed_bill_are_together_the_whole(client: TestClient) -> None:
    for name in ("images", "long_cache_writes", "contract_discount", "credit"):
        add_effect(client, name)
    whole = read_page(client, COSTS, group_by=BY_LINE)
    parts: list[Row] = []
    token = None
    while True:
        more: Row = {"page": token} if token else {}
        page = read_page(client, COSTS, group_by=BY_LINE, limit=1, **more)
        parts += page["data"]
        token = page["next_page"]
        if token is None:
            break
    assert parts == whole["data"]
    assert len(parts) == 3


def test_effects_and_reads_outlive_a_restart(tmp_path: Path) -> None:
    first = TestClient(create_app(tmp_path))
    add_effect(first, "empty_first_read")
    add_effect(first, "undeclared_factor", models=["gpt-4.1-*"], first_day=FIRST)
    assert read_costs(first) == []
    second = TestClient(create_app(tmp_path))
    assert second.get(EFFECTS).json() == first.get(EFFECTS).json()
    assert read_costs(second) == read_costs(first) != []


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"name": "gremlin"}, "empty_first_read, extra_line, free_tokens"),
        ({"provider": "mistral"}, "openai"),
        ({"org": "two words"}, "org"),
        ({"surprise": 1}, "accepted: org, provider, name"),
        ({"parameters": {"faktor": "1"}}, "accepted: ['factor']"),
        ({"parameters": {"factor": "many"}}, "factor: 'many' is not a number"),
        ({"parameters": {"factor": "NaN"}}, "factor"),
        ({"parameters": {"factor": -1}}, "at least 0"),
        ({"models": []}, "needs models"),
        ({"models": "gpt-4o"}, "models"),
        ({"first_day": "yesterday"}, "first_day"),
        ({"name": "extra_line", "parameters": {"amount": "1"}}, "meter is required"),
        ({"name": "long_context", "parameters": {"shown_as": "rumour"}}, "price, line"),
        ({"name": "free_tokens", "parameters": {"tokens_per_day": "1.5"}}, "whole number"),
    ],
)
def test_a_wrong_effect_is_rejected_with_what_is_accepted(
    client: TestClient, changed: Row, message: str
) -> None:
    effect = {"org": ORG, "provider": "openai", "name": "undeclared_factor", "models": ["gpt-4o"]}
    right = {**effect, "name": "images", "models": []}
    response = client.post(EFFECTS, json=[right, {**effect, **changed}])
    assert response.status_code == 422
    assert message in response.json()["error"]
    assert client.get(EFFECTS).json() == []


@pytest.mark.parametrize("body", ["7", "[7]", "{", "null", '{"org": NaN}'])
def test_what_is_no_effect_is_rejected(client: TestClient, body: str) -> None:
    assert client.post(EFFECTS, content=body).status_code == 422


@pytest.mark.parametrize(
    "params",
    [
        {"provider": "mistral"},
        {"org": ""},
        {"first_day": "soon"},
        {"read": "often"},
        {"as_of": "2026-11-19T00:00:00"},
    ],
)
def test_amounts_of_nothing_known_are_rejected(client: TestClient, params: Row) -> None:
    query = {"org": ORG, "provider": "openai", "first_day": FIRST, **params}
    assert client.get(f"{EFFECTS}/amounts", params=query).status_code == 422


def test_effects_are_removed_by_org(client: TestClient) -> None:
    add_effect(client, "images")
    add_effect(client, "images", org="acme_corp")
    client.delete(EFFECTS, params={"org": ORG})
    assert [one["org"] for one in client.get(EFFECTS).json()] == ["acme_corp"]
    assert client.get(EFFECTS, params={"provider": "anthropic"}).json() == []


def test_kinds_list_every_effect_with_its_parameters(client: TestClient) -> None:
    kinds = client.get(f"{EFFECTS}/kinds").json()["openai"]
    assert set(kinds) == set(SUITES)
    assert kinds["undeclared_factor"]["needs_models"] is True
    assert kinds["long_context"]["parameters"]["share"] == {
        "type": "decimal",
        "required": False,
        "default": "0.25",
    }


README = Path(__file__).parents[2] / "README.md"
DECLARED = """
[[effect]]
org = "globex_inc"
provider = "openai"
name = "undeclared_factor"
models = ["gpt-4.1-*"]
first_day = 2026-11-18
parameters = { factor = 0.93 }

[[effect]]
org = "globex_inc"
provider = "openai"
name = "images"
"""


def test_a_file_declares_effects_and_replaces_those_of_its_orgs(tmp_path: Path) -> None:
    declared = tmp_path / "bill.toml"
    declared.write_text(DECLARED)
    with TestClient(create_app(tmp_path / "data")) as before:
        add_effect(before, "credit")
        add_effect(before, "credit", org="acme_corp")
    client = TestClient(create_app(tmp_path / "data", bill_effects=declared))
    found = client.get(EFFECTS).json()
    assert [(one["org"], one["name"]) for one in found] == [
        ("acme_corp", "credit"),
        ("globex_inc", "undeclared_factor"),
        ("globex_inc", "images"),
    ]
    assert found[1]["parameters"] == {"factor": "0.93"}
    again = TestClient(create_app(tmp_path / "data", bill_effects=declared))
    assert again.get(EFFECTS).json() == found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (DECLARED.replace("images", "pictures"), "effect 2: unknown effect of openai 'pictures'"),
        ("effect = 7", r"\[\[effect\]\]"),
        ("[other]", r"\[\[effect\]\]"),
        ("[[", "bill.toml"),
    ],
)
def test_a_wrong_file_is_rejected_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    declared = tmp_path / "bill.toml"
    declared.write_text(text)
    with pytest.raises(ValueError, match=message):
        create_app(tmp_path / "data", bill_effects=declared)


def test_a_sandbox_with_a_wrong_file_does_not_start_and_names_it(tmp_path: Path) -> None:
    declared = tmp_path / "bill.toml"
    declared.write_text(DECLARED.replace("images", "pictures"))
    ports = ("BIGQUERY", "KMS", "PROVIDERS", "AWS", "SMTP")
    environment = {
        "PYTHONPATH": os.pathsep.join(sys.path),
        "SANDBOX_DATA_DIR": str(tmp_path / "data"),
        "SANDBOX_BILL_EFFECTS": str(declared),
        **{f"SANDBOX_{port}_PORT": "0" for port in ports},
    }
    ended = run([sys.executable, "-m", "convergence_sandbox"], env=environment, timeout=60)
    assert ended.returncode == 2
    assert "SANDBOX_BILL_EFFECTS" in ended.stderr
    assert "pictures" in ended.stderr


@pytest.mark.parametrize("provider", [openai.BILL, anthropic.BILL], ids=lambda one: str(one.name))
def test_the_readme_lists_every_effect_with_its_parameters(provider: BillSource) -> None:
    lines = README.read_text().splitlines()
    rows = {line.split("`")[1]: line for line in lines if line.startswith("| `")}
    for kind in provider.kinds.values():
        providers = rows[kind.name].split("|")[2].strip()
        assert providers in {"both", "OpenAI" if provider.name == "openai" else "Anthropic"}
        assert all(f"`{one.name}`" in rows[kind.name] for one in kind.parameters)
