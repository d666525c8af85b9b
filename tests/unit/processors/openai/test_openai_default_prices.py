"""The default price book against two outside witnesses: prices by hand, and genai-prices."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, time
from decimal import Decimal

import pytest
from genai_prices import Usage, calc_price

from convergence.processors.lib.pricing.price_book import Price, PriceBook
from convergence.settings import PROJECT_ROOT

SEED = PROJECT_ROOT / "include/configs/openai/seed"
FIELDS = json.loads((SEED / "schemas/openai_model_pricing.json").read_text())["fields"]
COLUMNS = {field["name"]: field["type"] for field in FIELDS}
BOOK = PriceBook.from_file(SEED / "data/default_pricing.csv", columns=COLUMNS)

CONTEXTS = {
    "standard": None,
    "batch": {"processing": "batch"},
    "flex": {"service_tier": "flex"},
    "priority": {"service_tier": "priority"},
}
TIERS_THERE_SINCE = date(2026, 10, 15)


def in_force(model: str, tier: str, day: date) -> Price | None:
    found = [
        price
        for price in BOOK.prices
        if price.sku == (model, tier) and price.effective_from <= day < price.effective_to
    ]
    assert len(found) <= 1
    return found[0] if found else None


def rates(price: Price | None, *names: str) -> tuple[Decimal | None, ...]:
    assert price is not None
    return tuple(price.values[f"{name}_per_million"] for name in names)  # type: ignore[misc]  # rates are Decimal


@pytest.mark.parametrize(
    ("model", "tier", "expected"),
    [
        # List prices as announced, USD per million: input, cached, cache write, output.
        ("gpt-4o-2024-08-06", "standard", ("2.5", "1.25", None, "10")),
        ("gpt-5-2025-08-07", "batch", ("0.625", "0.0625", None, "5")),
        ("gpt-6-astra", "standard", ("10", "1", "12.5", "50")),
        ("gpt-6-sol", "standard", ("2", "0.2", "2.5", "10")),
        ("gpt-6-luna", "standard", ("0.1", "0.01", "0.125", "0.5")),
        ("gpt-6.1-sol", "standard", ("2", "0.1", "2.5", "10")),
        ("gpt-6.1-terra", "standard", ("1", "0.05", "1.25", "5")),
        ("gpt-4.1-mini", "standard", ("0.4", "0.1", None, "1.6")),
        ("o4-mini", "standard", ("1.1", "0.275", None, "4.4")),
        ("text-embedding-3-small", "standard", ("0.02", None, None, None)),
    ],
)
def test_list_prices_are_as_announced(
    model: str, tier: str, expected: tuple[str | None, ...]
) -> None:
    price = in_force(model, tier, date(2026, 11, 17))
    found = rates(price, "input", "cached_input", "cache_write", "output")
    assert found == tuple(None if rate is None else Decimal(rate) for rate in expected)


@pytest.mark.parametrize(
    ("model", "before", "after", "day"),
    [
        ("o3", "10", "2", date(2025, 6, 10)),
        ("gpt-5.6-sol", "5", "4", date(2026, 8, 21)),
        ("gpt-5.6-luna", "1", "0.2", date(2026, 7, 30)),
        ("gpt-4o", "5", "2.5", date(2024, 10, 2)),
    ],
)
def test_a_price_changed_on_its_day(model: str, before: str, after: str, day: date) -> None:
    eve = date.fromordinal(day.toordinal() - 1)
    assert rates(in_force(model, "standard", eve), "input") == (Decimal(before),)
    assert rates(in_force(model, "standard", day), "input") == (Decimal(after),)


def test_audio_has_rates_of_its_own() -> None:
    price = in_force("gpt-4o-audio-preview-2024-12-17", "standard", date(2026, 11, 19))
    assert rates(price, "audio_input", "audio_output") == (Decimal(40), Decimal(80))


@pytest.mark.parametrize("price", BOOK.prices, ids=lambda p: f"{p.line}-{'-'.join(p.sku)}")
def test_every_price_names_its_source_and_its_day(price: Price) -> None:
    source, read = price.values["source_url"], price.values["source_date"]
    assert str(source).startswith(("https://openai.com/", "https://developers.openai.com/"))
    assert isinstance(read, date)
    assert price.effective_from <= date(2026, 11, 21)
    assert price.values["currency"] == "USD"
    if price.values["effective_basis"] == "observed":
        assert price.values["notes"]


def held_by_the_witness(price: Price, rate: str) -> bool:
    """What genai-prices 0.2.3 can be asked for; the rest is announced by OpenAI alone."""
    model, tier = price.sku
    return not (
        model.startswith("omni-moderation")
        or (tier != "standard" and price.effective_to < TIERS_THERE_SINCE)
        # The alias' former price, o3's former cached rate, cached rates of fine-tuned models.
        or (model == "gpt-4o" and price.effective_from < date(2024, 10, 2))
        or (rate == "cached_input" and model.startswith("ft:"))
        or (
            rate == "cached_input"
            and model.startswith("o3")
            and price.effective_to <= date(2025, 6, 10)
        )
    )


USAGE = {
    "input": Usage(input_tokens=100_000),
    "cached_input": Usage(input_tokens=100_000, cache_read_tokens=100_000),
    "cache_write": Usage(input_tokens=100_000, cache_write_tokens=100_000),
    "output": Usage(output_tokens=100_000),
}
CASES = [
    pytest.param(price, name, id=f"{price.line}-{'-'.join(price.sku)}-{name}")
    for price in BOOK.prices
    for name in USAGE
    if price.values[f"{name}_per_million"] is not None and held_by_the_witness(price, name)
]


@pytest.mark.parametrize(("price", "name"), CASES)
def test_an_independent_price_list_agrees(price: Price, name: str) -> None:
    model, tier = price.sku
    since = TIERS_THERE_SINCE if tier != "standard" else date.min
    day = max(price.effective_from, since)
    asked = calc_price(
        USAGE[name],
        model_ref=model,
        provider_id="openai",
        genai_request_timestamp=datetime.combine(day, time(12), UTC),
        price_context=CONTEXTS[tier],
    )
    (rate,) = rates(price, name)
    assert rate is not None
    assert asked.total_price == rate / 10


def test_the_witness_was_asked_about_most_rates() -> None:
    kept = sum(
        price.values[f"{name}_per_million"] is not None for price in BOOK.prices for name in USAGE
    )
    assert len(CASES) > 0.9 * kept
