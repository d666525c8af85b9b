"""What an edition find_rate_changes, against asking both editions about every single day."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from convergence.processors.lib.pricing.price_changes import RateChange, find_rate_changes

FIRST = date(2026, 1, 1)
SKU = (("model_id", "gpt-5"), ("service_tier", "standard"))


def price(begins: int, ends: int | None, rate: object, **changed: Any) -> dict[str, Any]:
    """A default from the nth day on."""
    return {
        "model_id": "gpt-5",
        "service_tier": "standard",
        "currency": "USD",
        "input_per_million": None if rate is None else Decimal(str(rate)),
        "effective_from": FIRST + timedelta(days=begins),
        "effective_to": None if ends is None else FIRST + timedelta(days=ends),
        "notes": None,
        "price_version": "2026-01-01",
        **changed,
    }


def test_the_same_edition_changes_nothing_whatever_it_says_of_sources() -> None:
    old = [price(0, 10, 1), price(10, None, 2)]
    told = [{**row, "notes": "read again", "price_version": "2026-02-01"} for row in old]
    assert find_rate_changes(old, told) == []
    assert find_rate_changes(old, [price(0, 10, "1.000"), price(10, None, 2)]) == []


def test_a_lower_price_from_a_day_on_changes_that_day_and_all_later_ones() -> None:
    found = find_rate_changes([price(0, None, 2)], [price(0, 10, 2), price(10, None, 1)])
    assert found == [RateChange(SKU, FIRST + timedelta(days=10), date.max)]


def test_new_gone_and_mended_prices_are_changes_on_their_days() -> None:
    assert find_rate_changes([], [price(3, 5, 1)]) == [
        RateChange(SKU, FIRST + timedelta(days=3), FIRST + timedelta(days=4))
    ]
    assert find_rate_changes([price(3, 5, 1)], []) == find_rate_changes([], [price(3, 5, 1)])
    assert find_rate_changes(
        [price(3, 5, 1)], [price(3, 5, 1, currency="EUR")]
    ) == find_rate_changes([], [price(3, 5, 1)])


def test_neighbouring_changes_are_one_and_other_skus_their_own() -> None:
    before = [price(0, 2, 1), price(2, 4, 2)]
    after = [price(0, 2, 3), price(2, 4, 4), price(0, 1, 9, service_tier="batch")]
    batch = (SKU[0], ("service_tier", "batch"))
    assert find_rate_changes(before, after) == [
        RateChange(batch, FIRST, FIRST),
        RateChange(SKU, FIRST, FIRST + timedelta(days=3)),
    ]


EDITIONS = st.lists(st.tuples(st.integers(1, 6), st.sampled_from([None, 1, 2, 3])), max_size=5)


def edition(lengths: list[tuple[int, int | None]]) -> list[dict[str, Any]]:
    rows, begins = [], 0
    for length, rate in lengths:
        if rate is not None:
            rows.append(price(begins, begins + length, rate))
        begins += length
    return rows


def rate_on(rows: list[dict[str, Any]], day: date) -> Decimal | None:
    for row in rows:
        if row["effective_from"] <= day < row["effective_to"]:
            found: Decimal = row["input_per_million"]
            return found
    return None


@given(EDITIONS, EDITIONS)
def test_every_day_with_another_rate_is_in_exactly_one_change(
    old: list[tuple[int, int | None]], new: list[tuple[int, int | None]]
) -> None:
    before, after = edition(old), edition(new)
    found = find_rate_changes(before, after)
    for number in range(40):
        day = FIRST + timedelta(days=number)
        covering = [one for one in found if one.first_day <= day <= one.last_day]
        assert len(covering) == (rate_on(before, day) != rate_on(after, day))
    assert found == sorted(found)
