"""Effects on OpenAI's bill: each changes the bill by the amount that the sandbox states."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest
from starlette.testclient import TestClient

from bills.client import (
    EFFECTS,
    SUITES,
    Row,
    add_effect,
    compare_totals,
    read_amounts,
    read_costs,
    read_usage,
    sum_caused,
    sum_costs,
    sum_model,
)
from convergence_sandbox.providers.openai.bill import BILL

MILLION = 1_000_000


def test_every_effect_is_tested_here() -> None:
    assert set(SUITES) == set(BILL.kinds)


def test_without_effects_nothing_is_caused(client: TestClient) -> None:
    found = read_amounts(client)
    assert found["amounts"] == []
    assert all(day["base"] == day["billed"] for day in found["days"])
    assert sum_costs(read_costs(client)) == {
        "USD": sum(Decimal(day["billed"]["USD"]) for day in found["days"])
    }


@pytest.mark.parametrize("name", SUITES)
def test_an_effect_changes_the_bill_by_the_amount_that_is_stated(
    client: TestClient, name: str
) -> None:
    before, others = read_costs(client), read_costs(client, org="acme_corp")
    usage = read_usage(client, "completions", "model")
    add_effect(client, name, **SUITES[name])
    after = read_costs(client)
    found = read_amounts(client)
    changed = {one: value for one, value in sum_caused(found["amounts"]).items() if value}
    assert compare_totals(before, after) == changed
    assert changed or name in {"renamed_model", "observed_names"}
    assert found["amounts"]
    assert read_costs(client, org="acme_corp") == others
    assert read_usage(client, "completions", "model") == usage


@pytest.mark.parametrize("name", SUITES)
def test_stated_amounts_and_the_base_add_up_to_each_days_bill(
    client: TestClient, name: str
) -> None:
    add_effect(client, name, **SUITES[name])
    found = read_amounts(client)
    for day in found["days"]:
        mine = [row for row in found["amounts"] if row["day"] == day["day"]]
        expected = {one: Decimal(value) for one, value in day["base"].items()}
        for currency, amount in sum_caused(mine).items():
            expected[currency] = expected.get(currency, Decimal(0)) + amount
        billed = {one: Decimal(value) for one, value in day["billed"].items()}
        assert {one: value for one, value in expected.items() if value} == billed


def test_all_effects_together_are_the_sum_of_what_each_has_caused(client: TestClient) -> None:
    before = read_costs(client)
    for name, fields in SUITES.items():
        add_effect(client, name, **fields)
    for _ in range(2):
        after = read_costs(client)
        caused = sum_caused(read_amounts(client)["amounts"])
        assert compare_totals(before, after) == {one: v for one, v in caused.items() if v}
    assert set(sum_costs(after)) == {"EUR"}


def test_lines_add_up_in_every_grouping(client: TestClient) -> None:
    for name in ("images", "vector_storage", "credit", "long_cache_writes", "contract_discount"):
        add_effect(client, name, **SUITES[name])
    whole = sum_costs(read_costs(client))
    for keys in ([], ["project_id"], ["line_item"], ["api_key_id"], ["user_id"]):
        assert sum_costs(read_costs(client, group_by=keys)) == whole


def check_images(client: TestClient, before: list[Row], after: list[Row]) -> Decimal:
    images = sum(row["images"] for row in read_usage(client, "images"))
    lines = [row for row in after if row["line_item"] == "gpt-image-1, images"]
    assert sum(row["quantity"] for row in lines) == images > 0
    assert {row["quantity_unit"] for row in lines} == {"images"}
    return Decimal(images) * Decimal("0.042")


def check_storage(client: TestClient, before: list[Row], after: list[Row]) -> Decimal:
    lines = [row for row in after if row["line_item"] == "file search storage"]
    projects = {row["project_id"] for row in read_usage(client, "vector_stores", "project_id")}
    assert {row["project_id"] for row in lines} >= projects
    assert {(row["quantity"], row["quantity_unit"]) for row in lines} == {
        (Decimal("300.0"), "gibibyte_hours")
    }
    return len(lines) * Decimal("1.25")


def check_uplift(client: TestClient, before: list[Row], after: list[Row]) -> Decimal:
    assert [row["line_item"] for row in before] == [row["line_item"] for row in after]
    models = ("gpt-5-2025-08-07", "gpt-5-mini-2025-08-07")
    return sum((sum_model(before, model) for model in models), Decimal(0)) / 10


def check_long_writes(client: TestClient, before: list[Row], after: list[Row]) -> Decimal:
    rows = read_usage(client, "completions", "model")
    written = sum(row.get("input_cache_write_12h_tokens", 0) for row in rows)
    assert written > 0
    # 12.5 USD per million in the base bill, twice the input price of 10 with the effect.
    return Decimal(written) * Decimal("7.5") / MILLION


def check_free_tokens(client: TestClient, before: list[Row], after: list[Row]) -> Decimal:
    quantities = [row["quantity"] for row in before if row["line_item"].startswith("gpt-4o-mini")]
    assert quantities == [
        row["quantity"] for row in after if row["line_item"].startswith("gpt-4o-mini")
    ]
    changed = compare_totals(before, after)["USD"]
    # Three days of a million tokens, at least at the price of cached and at most of output tokens.
    assert Decimal("-1.8") <= changed <= Decimal("-0.1")
    return changed


def check_discount(client: TestClient, before: list[Row], after: list[Row]) -> Decimal:
    token_lines = [row for row in before if row["quantity_unit"] == "tokens"]
    return -sum_costs(token_lines)["USD"] / 10


def check_factor(client: TestClient, before: list[Row], after: list[Row]) -> Decimal:
    return -sum_model(before, "gpt-4.1-2025-04-14") * Decimal("0.07")


def check_missing(client: TestClient, before: list[Row], after: list[Row]) -> Decimal:
    return -sum_model(before, "o4-mini-2025-04-16")


def check_late(client: TestClient, before: list[Row], after: list[Row]) -> Decimal:
    return -sum_model(before, "gpt-5-2025-08-07")


def check_names(client: TestClient, before: list[Row], after: list[Row]) -> Decimal:
    assert sum_model(after, "gpt-4o") == sum_model(before, "gpt-4o-2024-08-06")
    return Decimal(0)


CHECKS: dict[str, Callable[[TestClient, list[Row], list[Row]], Decimal]] = {
    "images": check_images,
    "vector_storage": check_storage,
    "credit": lambda _client, _before, _after: Decimal(-75),
    "extra_line": lambda _client, _before, _after: Decimal("21.75"),
    "missing_lines": check_missing,
    "regional_uplift": check_uplift,
    "long_cache_writes": check_long_writes,
    "free_tokens": check_free_tokens,
    "contract_discount": check_discount,
    "undeclared_factor": check_factor,
    "renamed_model": check_names,
    "late_lines": check_late,
    "empty_first_read": lambda _client, before, _after: -sum_costs(before)["USD"],
}


@pytest.mark.parametrize("name", CHECKS)
def test_an_effects_amount_is_what_its_description_says(client: TestClient, name: str) -> None:
    before = read_costs(client)
    add_effect(client, name, **SUITES[name])
    after = read_costs(client)
    expected = CHECKS[name](client, before, after)
    assert compare_totals(before, after).get("USD", Decimal(0)) == expected


def test_observed_names_have_the_tier_in_front_and_the_words_of_real_bills(
    client: TestClient,
) -> None:
    before = read_costs(client)
    add_effect(client, "long_context", models=["gpt-6-astra"], parameters={"shown_as": "line"})
    add_effect(client, "observed_names")
    after = read_costs(client)
    names = {row["line_item"] for row in after}
    assert names >= {
        "gpt-4o-mini-2024-07-18, cached input",
        "gpt-6-astra, cache writes, long context",
        "gpt-6-astra, output, long context",
        "priority | gpt-5-2025-08-07, output",
        "flex | gpt-5-mini-2025-08-07, input",
        "batch | gpt-4.1-2025-04-14, input",
        "web search tool calls",
    }
    assert not any("tokens" in name for name in names)
    assert sum_quantities(after) == sum_quantities(before)


def test_long_context_doubles_input_of_rows_that_can_have_it(client: TestClient) -> None:
    keys = ["project_id", "user_id", "api_key_id", "model"]
    expected = Decimal(0)
    for row in read_usage(client, "completions", *keys):
        if row["model"] != "gpt-6-astra" or row["input_tokens"] <= 272_000:
            continue
        # USD per million: what a token costs more; a quarter of each row's tokens, whole ones.
        written = row["input_cache_write_tokens"]
        expected += row["input_uncached_tokens"] // 4 * Decimal(10)
        expected += row["input_cached_tokens"] // 4 * Decimal(1)
        expected += written // 4 * Decimal("12.5")
        expected += row["output_tokens"] // 4 * Decimal(25)
    before = read_costs(client)
    add_effect(client, "long_context", **SUITES["long_context"])
    assert compare_totals(before, read_costs(client)) == {"USD": expected / MILLION}
    assert expected > 0


@pytest.mark.parametrize(
    ("name", "fields", "note"),
    [
        ("long_context", {"models": ["gpt-6-astra"]}, "long context"),
        ("regional_uplift", {"models": ["gpt-6-astra"]}, "regional"),
        ("free_tokens", {"models": ["gpt-6-astra"]}, "free"),
        ("long_cache_writes", {}, "12h"),
    ],
)
def test_an_effect_can_be_a_line_that_names_it(
    client: TestClient, name: str, fields: Row, note: str
) -> None:
    before = read_costs(client)
    add_effect(client, name, **fields)
    silent = read_costs(client)
    client.delete(EFFECTS)
    add_effect(client, name, **fields, parameters={"shown_as": "line"})
    named = read_costs(client)
    assert sum_costs(named) == sum_costs(silent)
    lines = [row for row in named if row["line_item"].endswith(f", {note}")]
    assert lines
    assert not any(row["line_item"].endswith(f", {note}") for row in silent)
    assert sum_quantities(named) == sum_quantities(silent) == sum_quantities(before)


def sum_quantities(rows: list[Row]) -> Decimal:
    return sum((Decimal(row["quantity"]) for row in rows), Decimal(0))


def test_a_bill_in_another_currency_has_the_same_amounts_at_the_rate(client: TestClient) -> None:
    before = read_costs(client)
    add_effect(client, "currency", parameters={"currency": "EUR", "rate": "0.92"})
    after = read_costs(client)
    assert {row["amount"]["currency"] for row in after} == {"eur"}
    assert sum_costs(after)["EUR"] == sum_costs(before)["USD"] * Decimal("0.92")
    caused = sum_caused(read_amounts(client)["amounts"])
    assert caused == {"USD": -sum_costs(before)["USD"], "EUR": sum_costs(after)["EUR"]}


def test_two_currencies_are_never_one_result(client: TestClient) -> None:
    before = read_costs(client)
    add_effect(client, "currency", models=["gpt-4o-*"])
    caused = sum_caused(read_amounts(client)["amounts"])
    assert set(caused) == {"USD", "EUR"}
    assert compare_totals(before, read_costs(client, group_by=["project_id"])) == caused
