"""OpenAI usage and cost as public reports describe them, from HTTP to the tables.

A test's name or docstring names its report: `litellm20411` is issue 20411 of BerriAI/litellm.
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from convergence.errors import ConvergenceError, ProviderProtocolError, WouldShrinkError
from support.processor_env import ProcessorEnv
from support.vendors.llm_responses import (
    DAY,
    PER_MILLION,
    bill_openai,
    completion,
    cost_line,
    new_openai_org,
    openai_page,
    openai_pages,
    price_openai,
    run_openai_usage,
    write_page,
)

MODEL = "gpt-4o-2024-08-06"


def test_timbal162_cache_writes_are_part_of_the_input(env: ProcessorEnv, tmp_path: Path) -> None:
    """OpenAI's own example: of 2,600 tokens 2,000 are read and 400 written, 200 are plain."""
    usage = completion(
        "gpt-5.6-sol",
        input_tokens=2600,
        input_uncached_tokens=200,
        input_cached_tokens=2000,
        input_cache_write_tokens=400,
        output_tokens=10,
    )
    expected = 200 * 4 + 2000 * Decimal("0.4") + 400 * 5 + 10 * 20
    priced = price_openai(env, tmp_path, [usage])
    assert priced.cost() == (expected * PER_MILLION, None, None)


def test_langfuse10592_cached_tokens_are_priced_once(env: ProcessorEnv, tmp_path: Path) -> None:
    usage = completion(MODEL, input_tokens=17903, input_cached_tokens=17817)
    expected = 86 * Decimal("2.5") + 17817 * Decimal("1.25")
    assert price_openai(env, tmp_path, [usage]).cost() == (expected * PER_MILLION, None, None)


@pytest.mark.parametrize(
    ("model", "rates"),
    [
        ("ft:gpt-4o-mini-2024-07-18:acme::AbCdEf", ("0.3", "0.15", "1.2")),
        ("ft:gpt-4o-2024-08-06:acme:name:AbCd:ckpt-step-80", ("3.75", "1.875", "15")),
    ],
)
def test_litellm20411_a_fine_tuned_model_has_its_own_price(
    env: ProcessorEnv, tmp_path: Path, model: str, rates: tuple[str, str, str]
) -> None:
    plain, cached, output = map(Decimal, rates)
    usage = completion(model, input_tokens=1000, input_cached_tokens=400, output_tokens=100)
    expected = (600 * plain + 400 * cached + 100 * output) * PER_MILLION
    assert price_openai(env, tmp_path, [usage]).cost() == (expected, None, None)


@pytest.mark.parametrize(
    "base",
    [
        *("gpt-4.1-2025-04-14", "gpt-4.1-mini-2025-04-14", "gpt-4.1-nano-2025-04-14"),
        *("gpt-4o-2024-11-20", "gpt-3.5-turbo-0125", "o4-mini-2025-04-16"),
    ],
)
def test_a_fine_tuned_model_without_a_price_is_not_priced_as_its_base(
    env: ProcessorEnv, tmp_path: Path, base: str
) -> None:
    usage = completion(f"ft:{base}:acme::x", input_tokens=1000)
    assert price_openai(env, tmp_path, [usage]).cost()[:2] == (None, "no_price")


@pytest.mark.xfail(reason="A public price that the book lacks", raises=AssertionError)
@pytest.mark.parametrize(
    "model",
    [
        *("ft:gpt-4.1-2025-04-14:acme::x", "gpt-4o-transcribe", "gpt-image-2", "gpt-sol-latest"),
        *("chat-latest", "gpt-5-search-api", "computer-use-preview", "gpt-realtime-2.1"),
    ],
)
def test_a_model_with_a_public_price_is_priced(
    env: ProcessorEnv, tmp_path: Path, model: str
) -> None:
    priced = price_openai(env, tmp_path, [completion(model, input_tokens=1000)])
    assert priced.cost()[1] is None


@pytest.mark.parametrize(
    ("tier", "rate"),
    [("flex", "2.5"), ("priority", "12.5"), (None, "5"), ("scale", None), ("auto", None)],
)
def test_a_tier_has_its_own_rate_or_none(
    env: ProcessorEnv, tmp_path: Path, tier: str | None, rate: str | None
) -> None:
    usage = completion("gpt-5.5", input_tokens=1000, service_tier=tier)
    expected = Decimal(rate) * 1000 * PER_MILLION if rate else None
    assert price_openai(env, tmp_path, [usage]).cost()[0] == expected


def test_dust24852_a_possible_long_context_has_a_caveat(env: ProcessorEnv, tmp_path: Path) -> None:
    usage = completion("gpt-5.5", input_tokens=300_000, num_model_requests=1)
    assert price_openai(env, tmp_path, [usage]).cost()[2] == "long_context_not_visible"


@pytest.mark.xfail(
    reason="A false alarm: no request of the row can be above the long-context threshold",
    raises=AssertionError,
)
def test_small_requests_have_no_long_context_caveat(env: ProcessorEnv, tmp_path: Path) -> None:
    """272,001 requests have 272,001 tokens together: one each."""
    usage = completion("gpt-5.5", input_tokens=272_001, num_model_requests=272_001)
    assert price_openai(env, tmp_path, [usage]).cost()[2] is None


def test_litellm10384_a_web_search_costs_where_it_was_called(
    env: ProcessorEnv, tmp_path: Path
) -> None:
    row = {
        "object": "organization.usage.web_search_calls.result",
        "num_model_requests": 7,
        "model": "gpt-5",
        "project_id": None,
        "user_id": None,
        "api_key_id": None,
    }
    calls = [
        row | {"num_requests": 3, "context_level": "medium"},
        row | {"num_requests": 0, "context_level": "low"},
    ]
    costs = price_openai(env, tmp_path, web_search_calls=calls).costs
    assert sorted(one["effective_cost"] for one in costs) == [0, Decimal("0.03")]


def test_a_moderation_is_free_and_an_embedding_is_not(env: ProcessorEnv, tmp_path: Path) -> None:
    row = {
        "object": "result",
        "input_tokens": 1,
        "num_model_requests": 1,
        "project_id": None,
        "user_id": None,
        "api_key_id": None,
    }
    priced = price_openai(
        env,
        tmp_path,
        moderations=[row | {"model": "omni-moderation-latest"}],
        embeddings=[row | {"model": "text-embedding-3-small"}],
    )
    assert {one["endpoint"]: one["effective_cost"] for one in priced.costs} == {
        "moderations": 0,
        "embeddings": Decimal("0.00000002"),
    }


def test_two_rows_of_one_group_are_refused_and_not_lost(env: ProcessorEnv, tmp_path: Path) -> None:
    """A group stands once in a response; a second row of it would be counted or dropped."""
    usage = [completion(MODEL, input_tokens=10), completion(MODEL, input_tokens=10)]
    with pytest.raises(ProviderProtocolError):
        price_openai(env, tmp_path, usage)


def test_a_token_count_may_be_a_whole_float_but_no_text(env: ProcessorEnv, tmp_path: Path) -> None:
    priced = price_openai(env, tmp_path, [completion(MODEL, input_tokens=10.0)])
    assert priced.cost()[0] == 10 * Decimal("2.5") * PER_MILLION
    with pytest.raises(ConvergenceError):
        price_openai(env, tmp_path, [completion(MODEL, input_tokens="10")])


def test_an_empty_page_that_announces_another_is_refused(env: ProcessorEnv, tmp_path: Path) -> None:
    """`has_more` with an empty page proves no end: the pages are refused, none is published."""
    first = openai_page([]) | {"data": [], "has_more": True, "next_page": "p2"}
    second = openai_page([completion(MODEL, input_tokens=10)])
    pages = openai_pages(tmp_path)
    pages["/organization/usage/completions"] = [
        write_page(tmp_path, first),
        write_page(tmp_path, second),
    ]
    org = new_openai_org(env)
    with pytest.raises(ProviderProtocolError):
        run_openai_usage(org, pages)
    assert org.rows("openai_usage_daily_raw", f"WHERE usage_date = '{DAY}'") == []


@pytest.mark.parametrize(
    ("model", "day", "rate"),
    [
        ("gpt-4o-2024-05-13", DAY, "5"),
        ("gpt-4o", DAY, "2.5"),
        ("gpt-4-turbo-2024-04-09", DAY, "10"),
        ("gpt-4.1-2025-04-14/priority", DAY, "3.5"),
        ("gpt-4o-mini-2024-07-18/priority", DAY, "0.25"),
        ("o3-2025-04-16", date(2025, 6, 9), "10"),
        ("o3-2025-04-16", date(2025, 6, 10), "2"),
        ("gpt-5.6-luna", date(2026, 7, 29), "1"),
        ("gpt-5.6-luna", date(2026, 7, 30), "0.2"),
        ("gpt-3.5-turbo-1106", DAY, None),
        ("gpt-4-0125-preview", DAY, None),
    ],
)
def test_snapshots_tiers_and_days_have_their_own_price(
    env: ProcessorEnv, tmp_path: Path, model: str, day: date, rate: str | None
) -> None:
    """genai-prices 496, instructor 672, litellm 37046, llm-prices 33, cpa-usage-keeper 508."""
    name, _, tier = model.partition("/")
    usage = completion(
        name, input_tokens=1_000_000, num_model_requests=10**6, service_tier=tier or "default"
    )
    priced = price_openai(env, tmp_path, [usage], day)
    assert priced.cost()[0] == (Decimal(rate) if rate else None)


def test_the_reconciliation_names_the_long_context(env: ProcessorEnv, tmp_path: Path) -> None:
    """One request of 300,000 tokens is billed at twice the rate; its row has the caveat."""
    usage = completion("gpt-5.5", input_tokens=300_000, input_uncached_tokens=300_000)
    billed = bill_openai(env, tmp_path, [usage], [cost_line("gpt-5.5, input", 3.0)])
    assert billed.read_reasons() == {"long_context_not_visible": Decimal("1.5")}


@pytest.mark.parametrize(
    "amount",
    [
        None,
        {"value": None, "currency": "usd"},
        {"value": 1, "currency": None},
        {"value": float("nan"), "currency": "usd"},
    ],
)
def test_a_bill_without_amount_or_currency_is_refused(
    env: ProcessorEnv, tmp_path: Path, amount: object
) -> None:
    with pytest.raises(ConvergenceError):
        bill_openai(env, tmp_path, [], [cost_line("a", 1, amount=amount)])


def test_a_day_that_comes_back_empty_is_not_zero_in_silence(
    env: ProcessorEnv, tmp_path: Path
) -> None:
    """A day of 2 USD has no rows the next morning: they are kept, and the run reports it."""
    org = new_openai_org(env)
    usage = [completion(MODEL, input_tokens=800_000)]
    first = run_openai_usage(org, openai_pages(tmp_path, completions=usage), run_id="first")
    assert sum(row["effective_cost"] for row in first.costs) == 2
    with pytest.raises(WouldShrinkError):
        run_openai_usage(org, openai_pages(tmp_path), run_id="second")
    kept = org.rows("openai_cost_daily")
    assert sum(row["effective_cost"] for row in kept) == 2


def test_a_days_total_is_the_exact_sum_of_its_lines(env: ProcessorEnv, tmp_path: Path) -> None:
    """A thousand lines of 4e-10 are 4e-7."""
    lines = [cost_line(f"item {number}", 4e-10) for number in range(1000)]
    org = bill_openai(env, tmp_path, [], lines).org
    ledger = org.env.services.ledger.read_latest(orgs=[org.slug], pipeline_id="openai-cost-extract")
    totals = {
        money.amount
        for key, row in ledger.items()
        if key.table == "openai_billed_daily" and key.day == DAY
        for money in row.totals
    }
    assert totals == {Decimal("4e-7")}
