"""Which price applies, what has none, and that money is exact: the real SQL on made-up usage."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from convergence.errors import RetryableError
from convergence.processors.lib.pricing.pricing import price_usage
from convergence.processors.openai.config import CostConfig
from support.processor_env import OrgEnv, ProcessorEnv

DAY = date(2026, 11, 17)
EVER = date(2020, 1, 1)
RATES = (
    *("input", "cached_input", "cache_write", "cache_write_12h"),
    *("output", "audio_input", "cached_audio_input", "audio_output"),
)


def raw_usage(day: date = DAY, /, **changed: Any) -> dict[str, Any]:
    """A row of the raw table: 1,000 plain input tokens of gpt-x unless said otherwise."""
    base: dict[str, Any] = {
        "usage_date": day.isoformat(),
        "endpoint": "completions",
        "bucket_start": f"{day}T00:00:00+00:00",
        "bucket_end": f"{day + timedelta(days=1)}T00:00:00+00:00",
        "shape_version": 2,
        "model": "gpt-x",
        "batch": False,
        "service_tier": "default",
        "input_tokens": 1000,
        "input_uncached_tokens": 1000,
        "output_tokens": 0,
        "num_model_requests": 1,
    }
    return base | changed


def price(**changed: Any) -> dict[str, Any]:
    """A row of the price table: 1 USD per million input tokens of gpt-x, for ever."""
    base: dict[str, Any] = {
        "model_id": "gpt-x",
        "service_tier": "standard",
        "currency": "USD",
        "is_override": False,
        "input_per_million": "1",
        "effective_from": EVER.isoformat(),
        "effective_basis": "announced",
        "price_version": "test",
        "updated_at": "2026-11-01T00:00:00Z",
    }
    return base | changed


def put_prices(org: OrgEnv, *prices: dict[str, Any]) -> None:
    """Make these the org's prices."""
    from google.cloud.bigquery import LoadJobConfig

    warehouse = org.env.warehouse
    table = f"{warehouse.project}.{org.dataset}.openai_model_pricing"
    schema = warehouse.client.get_table(table).schema
    config = LoadJobConfig(write_disposition="WRITE_TRUNCATE", schema=schema)
    warehouse.client.load_table_from_json(list(prices), table, job_config=config).result()


def cost_of(
    org: OrgEnv, folder: Path, *rows: dict[str, Any], days: tuple[date, ...] = (DAY,)
) -> list[dict[str, Any]]:
    """Publish usage, price it, and give the cost rows in the order of `rows`."""
    numbered = [row | {"user_id": f"{number:04d}"} for number, row in enumerate(rows)]
    org.publish_usage(numbered, list(days), folder=folder)
    price_usage(org.context(list(days), run_id=uuid.uuid4().hex), CostConfig())
    return sorted(org.rows("openai_cost_daily"), key=lambda row: row["user_id"])


def test_each_reason_without_a_price_is_named(org: OrgEnv, tmp_path: Path) -> None:
    put_prices(
        org,
        price(),
        price(model_id="gpt-past", effective_to="2026-11-17"),
        price(model_id="gpt-next", effective_from="2026-11-18"),
    )
    cases: dict[str, dict[str, Any]] = {
        "unknown_unit": {"endpoint": "images", "batch": None},
        "model_unknown": {"model": None},
        "tier_unknown": {"service_tier": "ultrafast"},
        "tier_unknown ": {"batch": None},
        "token_counts_missing": {"input_tokens": None, "input_uncached_tokens": None},
        "token_counts_inconsistent": {"input_uncached_tokens": 1001},
        "token_counts_inconsistent ": {"input_cached_tokens": 1, "input_cached_audio_tokens": 2},
        "audio_split_unknown": {
            "shape_version": 1,
            "input_uncached_tokens": None,
            "input_cached_tokens": 10,
            "input_audio_tokens": 10,
        },
        "no_price": {"model": "gpt-unheard-of"},
        "no_price_for_tier": {"batch": True},
        "no_price_on_day": {"model": "gpt-past"},
        "no_price_on_day ": {"model": "gpt-next"},
        "no_rate_cached_input": {"input_uncached_tokens": 900, "input_cached_tokens": 100},
        "no_rate_cache_write": {"input_uncached_tokens": 900, "input_cache_write_30m_tokens": 100},
        "no_rate_cache_write ": {"input_uncached_tokens": 900, "input_cache_write_12h_tokens": 100},
        "no_rate_output": {"output_tokens": 1},
        "no_rate_audio_input": {"input_audio_tokens": 10},
        "no_rate_audio_output": {"output_tokens": 1, "output_audio_tokens": 1},
        "no_rate_image_output": {"output_tokens": 1, "output_image_tokens": 1},
    }
    rows = cost_of(org, tmp_path, *(raw_usage(**changed) for changed in cases.values()))
    assert [row["unpriced_reason"] for row in rows] == [name.strip() for name in cases]
    for row in rows:
        assert row["pricing_status"] == "UNPRICED"
        assert row["effective_cost"] is row["list_cost"] is row["billed_cost"] is None


@pytest.mark.parametrize(
    ("changed", "tier"),
    [
        ({"batch": True, "service_tier": "flex"}, "batch"),
        ({"service_tier": "default"}, "standard"),
        ({"service_tier": None}, "standard"),
        ({"service_tier": "flex"}, "flex"),
        ({"service_tier": "priority"}, "priority"),
        ({"service_tier": "fast"}, "priority"),
        ({"endpoint": "embeddings", "batch": None, "service_tier": None}, "standard"),
    ],
)
def test_a_tier_has_its_own_price(
    env: ProcessorEnv, tmp_path: Path, changed: dict[str, Any], tier: str
) -> None:
    org = env.new_org()
    tiers = {"standard": "4", "batch": "2", "flex": "3", "priority": "8"}
    put_prices(org, *(price(service_tier=t, input_per_million=rate) for t, rate in tiers.items()))
    (row,) = cost_of(org, tmp_path, raw_usage(**changed))
    assert row["priced_tier"] == tier
    assert row["effective_cost"] == Decimal(tiers[tier]) / 1000


def test_a_price_change_in_a_range_splits_it_at_its_day(org: OrgEnv, tmp_path: Path) -> None:
    days = tuple(DAY + timedelta(days=n) for n in range(3))
    put_prices(
        org,
        price(input_per_million="10", effective_to=days[1].isoformat()),
        price(input_per_million="2", effective_from=days[1].isoformat()),
    )
    rows = cost_of(org, tmp_path, *(raw_usage(day) for day in days), days=days)
    assert [row["effective_cost"] for row in rows] == [
        Decimal("0.01"),
        Decimal("0.002"),
        Decimal("0.002"),
    ]


def test_the_nearest_name_has_the_price(org: OrgEnv, tmp_path: Path) -> None:
    put_prices(
        org,
        price(input_per_million="1"),
        price(model_id="gpt-x-2026-01-02", input_per_million="2"),
        price(model_id="ft:gpt-x-2026-01-02", input_per_million="3"),
    )
    models = {
        "gpt-x": ("1", "model"),
        "gpt-x-2026-01-02": ("2", "model"),
        "gpt-x-2026-09-09": ("1", "snapshot_base"),
        "ft:gpt-x-2026-01-02:acme::abc": ("3", "fine_tune_base"),
        "gpt-x-mini": (None, None),
        "ft:gpt-x:acme::abc": (None, None),
    }
    rows = cost_of(org, tmp_path, *(raw_usage(model=model) for model in models))
    for row, (rate, match) in zip(rows, models.values(), strict=True):
        expected = None if rate is None else Decimal(rate) / 1000
        assert (row["effective_cost"], row["price_match"]) == (expected, match)


def test_the_orgs_own_rate_is_contracted_and_the_public_one_stays_the_list(
    org: OrgEnv, tmp_path: Path
) -> None:
    put_prices(
        org,
        price(input_per_million="10"),
        price(is_override=True, input_per_million="9"),
        price(model_id="gpt-own", is_override=True, input_per_million="5"),
        price(model_id="gpt-euro", input_per_million="1"),
        price(model_id="gpt-euro", is_override=True, currency="EUR", input_per_million="0.9"),
    )
    models = ("gpt-x", "gpt-own", "gpt-euro")
    both, own, euro = cost_of(org, tmp_path, *(raw_usage(model=model) for model in models))
    assert (both["list_cost"], both["contracted_cost"]) == (Decimal("0.01"), Decimal("0.009"))
    assert both["price_is_override"]
    assert (own["list_cost"], own["contracted_cost"]) == (Decimal("0.005"), Decimal("0.005"))
    # A list price in another currency is no list price of this cost.
    assert (euro["list_cost"], euro["currency"]) == (Decimal("0.0009"), "EUR")


def test_writes_for_twelve_hours_cost_their_own_rate_or_say_that_they_have_none(
    org: OrgEnv, tmp_path: Path
) -> None:
    put_prices(
        org,
        price(cache_write_per_million="2"),
        price(model_id="gpt-y", cache_write_per_million="2", cache_write_12h_per_million="4"),
    )
    tokens = {"input_uncached_tokens": 0, "input_cache_write_12h_tokens": 1000}
    common, own = cost_of(org, tmp_path, raw_usage(**tokens), raw_usage(model="gpt-y", **tokens))
    assert common["effective_cost"] == Decimal("0.002")
    assert common["price_caveat"] == "cache_write_12h_at_common_rate"
    assert (own["effective_cost"], own["price_caveat"]) == (Decimal("0.004"), None)


def test_only_days_whose_price_changed_are_published_again(org: OrgEnv, tmp_path: Path) -> None:
    days = [DAY, DAY + timedelta(days=1)]
    put_prices(org, price())
    org.publish_usage([raw_usage(day) for day in days], days, folder=tmp_path)
    assert price_usage(org.context(days), CostConfig()).details["days_published"] == 2
    later = price(input_per_million="3", effective_from=days[1].isoformat())
    put_prices(org, price(effective_to=days[1].isoformat()), later)
    again = price_usage(org.context(days, run_id="run_2"), CostConfig())
    # The first day's price has an end now, and the same rates.
    assert (again.details["days_published"], again.details["days_unchanged"]) == (1, 1)


def test_a_retry_of_a_run_publishes_no_day_again_whose_inputs_are_equal(
    org: OrgEnv, tmp_path: Path
) -> None:
    put_prices(org, price())
    org.publish_usage([raw_usage()], [DAY], folder=tmp_path)
    price_usage(org.context([DAY]), CostConfig())
    retry = price_usage(org.context([DAY], attempt=2), CostConfig())
    assert retry.details["days_done_before"] == 1
    assert (retry.details["days_published"], retry.details["days_unchanged"]) == (0, 1)
    assert retry.details["effective_cost"] == {"USD": "0.001"}


def test_a_day_whose_usage_was_never_published_is_not_priced(org: OrgEnv) -> None:
    with pytest.raises(RetryableError, match="differ from the ledger"):
        price_usage(org.context([DAY]), CostConfig())
    assert org.rows("openai_cost_daily") == []


def test_no_days_is_nothing_to_do(org: OrgEnv) -> None:
    assert price_usage(org.context([]), CostConfig()).status == "SKIPPED"


TOKENS = st.integers(0, 10**12)
RATE = st.decimals(min_value=0, max_value=1000, places=9)
SPLIT = st.fixed_dictionaries(dict.fromkeys(RATES, TOKENS))


@settings(
    max_examples=3,
    # Each example is several jobs: shrinking one would take minutes.
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.lists(
        st.tuples(st.fixed_dictionaries(dict.fromkeys(RATES, RATE)), st.lists(SPLIT, max_size=9)),
        min_size=1,
        max_size=8,
    )
)
def test_money_is_exact_and_rounded_once(
    env: ProcessorEnv, tmp_path: Path, cases: list[tuple[dict[str, Decimal], list[dict[str, int]]]]
) -> None:
    org = env.new_org()
    prices, rows, expected = [], [], []
    for number, (rates, splits) in enumerate(cases):
        model = f"gpt-{number}"
        named = {f"{name}_per_million": str(rate) for name, rate in rates.items()}
        prices.append(price(model_id=model, **named))
        for split in splits:
            rows.append(raw_usage(model=model, **counts(split)))
            expected.append(by_hand(split, rates))
    put_prices(org, *prices)
    found = cost_of(org, tmp_path, *rows)
    assert [row["contracted_cost"] for row in found] == expected
    assert [row["list_cost"] for row in found] == expected


def counts(split: Mapping[str, int]) -> dict[str, int]:
    """A provider's counts of these classes of tokens."""
    written = split["cache_write"] + split["cache_write_12h"]
    uncached = split["input"] + split["audio_input"]
    cached = split["cached_input"] + split["cached_audio_input"]
    return {
        "input_tokens": uncached + cached + written,
        "input_uncached_tokens": uncached,
        "input_cached_tokens": cached,
        "input_cache_write_tokens": written,
        "input_cache_write_12h_tokens": split["cache_write_12h"],
        "input_audio_tokens": split["audio_input"],
        "input_cached_audio_tokens": split["cached_audio_input"],
        "output_tokens": split["output"] + split["audio_output"],
        "output_audio_tokens": split["audio_output"],
    }


def by_hand(split: Mapping[str, int], rates: Mapping[str, Decimal]) -> Decimal:
    """Tokens times rate summed in integers of 1e-15, halves away from zero at the ninth decimal."""
    femto = sum(split[name] * int(rates[name] * 10**9) for name in RATES)
    return (Decimal(femto) / 10**6).to_integral_value(ROUND_HALF_UP) / 10**9
