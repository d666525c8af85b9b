"""Anthropic usage and cost as public reports describe them, from HTTP to the tables.

A test's name names its report: `litellm9812` is issue 9812 of BerriAI/litellm.
"""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from convergence.errors import ProviderProtocolError
from support.processor_env import ProcessorEnv
from support.vendors.llm_responses import (
    anthropic_page,
    message_bill,
    message_usage,
    price_anthropic,
    run_anthropic,
    write_page,
)


def test_litellm9812_a_cache_write_is_priced_once(env: ProcessorEnv, tmp_path: Path) -> None:
    """Anthropic's console shows 0.05439: 3 tokens in, 12,304 written, 550 out."""
    usage = message_usage(
        "claude-3-7-sonnet-20250219", input_tokens=3, cache_write_5m=12304, output=550
    )
    priced = price_anthropic(env, tmp_path, [usage])
    assert priced.cost() == (Decimal("0.054399"), None, None)


def test_ohmypi6876_a_write_for_one_hour_costs_twice_the_input(
    env: ProcessorEnv, tmp_path: Path
) -> None:
    usage = message_usage("claude-opus-5", cache_write_1h=344139)
    assert price_anthropic(env, tmp_path, [usage]).cost()[0] == Decimal("3.44139")


def test_litellm34526_fast_mode_raises_the_rates_of_the_cache(
    env: ProcessorEnv, tmp_path: Path
) -> None:
    usage = message_usage(
        "claude-opus-5", cache_read=1_000_000, cache_write_5m=1_000_000, speed="fast"
    )
    assert price_anthropic(env, tmp_path, [usage]).cost()[0] == Decimal("13.5")


def test_litellm38369_an_unknown_geography_is_not_priced_in_silence(
    env: ProcessorEnv, tmp_path: Path
) -> None:
    """A workspace in the US only is billed at 1.1 times the rate; usage has no geography."""
    usage = message_usage("claude-opus-4-8", input_tokens=1_000_000)
    bill = message_bill("claude-opus-4-8", "550.000000")
    (row,) = price_anthropic(env, tmp_path, [usage], [bill]).costs
    assert (
        row["effective_cost"] == Decimal("5.5")
        or row["price_caveat"]
        or row["pricing_status"] == "UNPRICED"
    )


def test_quickstarts431_a_model_that_is_only_billed_is_reported(
    env: ProcessorEnv, tmp_path: Path
) -> None:
    priced = price_anthropic(
        env,
        tmp_path,
        [message_usage("claude-opus-4-7", input_tokens=1_000_000)],
        [message_bill("claude-sonnet-4-6", "300.000000")],
    )
    assert priced.read_reasons() == {"bill_missing": Decimal(-5), "usage_missing": Decimal(3)}


def test_langwatch6977_amounts_are_in_cents(env: ProcessorEnv, tmp_path: Path) -> None:
    bill = [
        message_bill("claude-opus-4-7", "41280.000000"),
        message_bill("claude-opus-4-7", "1234.567890123", token_type="output_tokens"),
    ]
    org = price_anthropic(env, tmp_path, [], bill).org
    amounts = sorted(row["billed_cost"] for row in org.rows("anthropic_billed_daily"))
    assert amounts == [Decimal("12.345678901"), Decimal("412.8")]


def test_code_execution_is_a_difference_of_its_own(env: ProcessorEnv, tmp_path: Path) -> None:
    """It is in the bill alone; the day's reasons add up to its 5 cents."""
    execution = message_bill(
        None,
        "5.000000",
        cost_type="code_execution",
        token_type=None,
        context_window=None,
        service_tier=None,
    )
    priced = price_anthropic(
        env,
        tmp_path,
        [message_usage("claude-opus-4-8", input_tokens=1_000_000)],
        [message_bill("claude-opus-4-8", "500.000000"), execution],
    )
    assert priced.read_reasons() == {"no_meter": Decimal("0.05")}


def test_an_empty_page_that_announces_another_is_refused(env: ProcessorEnv, tmp_path: Path) -> None:
    """`has_more` with an empty page proves no end: the pages are refused."""
    first = anthropic_page([], has_more=True, next_page="p2")
    second = anthropic_page([message_usage("claude-opus-5", input_tokens=1_000_000)])
    usage = [write_page(tmp_path, first), write_page(tmp_path, second)]
    with pytest.raises(ProviderProtocolError):
        run_anthropic(env, usage, [write_page(tmp_path, anthropic_page([]))])
