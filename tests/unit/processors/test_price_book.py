from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convergence.errors import PriceBookError
from convergence.processors.lib.pricing.price_book import PriceBook, hash_price_rows

COLUMNS = {
    "model_id": "STRING",
    "service_tier": "STRING",
    "currency": "STRING",
    "is_override": "BOOL",
    "input_per_million": "NUMERIC",
    "output_per_million": "NUMERIC",
    "effective_from": "DATE",
    "effective_to": "DATE",
    "effective_basis": "STRING",
    "source_url": "STRING",
    "source_date": "DATE",
    "updated_at": "TIMESTAMP",
}
HEADER = (
    "model_id,service_tier,currency,input_per_million,output_per_million,"
    "effective_from,effective_to,effective_basis,source_url,source_date"
)
GOOD = "gpt-4o,standard,USD,2.5,10,2024-10-02,,announced,https://openai.com,2024-10-02"


def read_book(tmp_path: Path, *lines: str, header: str = HEADER) -> PriceBook:
    path = tmp_path / "prices.csv"
    path.write_text("\n".join((header, *lines)) + "\n")
    return PriceBook.from_file(path, columns=COLUMNS)


def faults(tmp_path: Path, *lines: str, header: str = HEADER) -> list[str]:
    with pytest.raises(PriceBookError) as caught:
        read_book(tmp_path, *lines, header=header)
    found = caught.value.details["errors"]
    assert isinstance(found, list)
    return found


def test_a_good_book_keeps_amounts_exact(tmp_path: Path) -> None:
    book = read_book(tmp_path, GOOD)
    (price,) = book.prices
    assert price.values["input_per_million"] == Decimal("2.5")
    assert price.effective_from == date(2024, 10, 2)
    assert price.effective_to == date.max
    assert book.list_rows()[0]["output_per_million"] == "10"
    assert "effective_to" not in book.list_rows()[0]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("2.5,10", "-2.5,10", "prices.csv:2: input_per_million: -2.5 is negative"),
        ("2.5,10", "2.5,ten", "prices.csv:2: output_per_million: 'ten' is not a valid NUMERIC"),
        ("2.5,10", "NaN,10", "prices.csv:2: input_per_million: 'NaN' is not a valid NUMERIC"),
        (
            "2.5,10",
            "0.0000000001,10",
            "prices.csv:2: input_per_million: '0.0000000001' is not a valid NUMERIC: more",
        ),
        ("2.5,10", ",", "prices.csv:2: (row): no rate at all"),
        ("10-02,,", "10-02,2024-10-02,", "prices.csv:2: effective_to: 2024-10-02 ends"),
        ("10-02,,", "10-02,2024-09-01,", "prices.csv:2: effective_to: 2024-09-01 ends"),
        ("2024-10-02,,", "2024-13-02,,", "prices.csv:2: effective_from: "),
        ("2024-10-02,,", ",,", "prices.csv:2: effective_from: must not be empty"),
        ("standard", "express", "prices.csv:2: service_tier: 'express' is none of"),
        ("announced", "guessed", "prices.csv:2: effective_basis: 'guessed' is none of"),
        ("https://openai.com", "", "prices.csv:2: source_url: must not be empty"),
        ("https://openai.com", "http://openai.com", "prices.csv:2: source_url: must be"),
        (",2024-10-02\n", ",\n", "prices.csv:2: source_date: must not be empty"),
        ("gpt-4o", "", "prices.csv:2: model_id: must not be empty"),
        (",USD", "", "prices.csv:2: (row): "),
        ("USD", "USD,EUR", "prices.csv:2: (row): "),
    ],
)
def test_each_fault_names_file_line_and_field(
    tmp_path: Path, old: str, new: str, told: str
) -> None:
    line = (GOOD + "\n").replace(old, new, 1).strip("\n")
    assert any(fault.startswith(told) for fault in faults(tmp_path, line))


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    bad = GOOD.replace("2.5,10", "-1,x")
    found = faults(tmp_path, bad, GOOD.replace("standard", "slow"))
    assert [fault.split(":")[1] for fault in found] == ["2", "3"]


def test_prices_of_one_sku_must_not_overlap(tmp_path: Path) -> None:
    ended = GOOD.replace("10-02,,", "10-02,2025-01-02,")
    early = GOOD.replace("2024-10-02,,", "2025-01-01,,")
    (fault,) = faults(tmp_path, ended, early)
    assert fault.startswith("prices.csv:3: effective_from: 2025-01-01 overlaps line 2:")
    assert "gpt-4o/standard" in fault


def test_a_price_may_begin_on_the_day_another_ends_and_other_tiers_are_free(tmp_path: Path) -> None:
    ended = GOOD.replace("10-02,,", "10-02,2025-01-02,")
    next_one = GOOD.replace("2024-10-02,,", "2025-01-02,,")
    batch = GOOD.replace("standard", "batch")
    assert len(read_book(tmp_path, ended, next_one, batch).prices) == 3


def test_the_same_price_twice_is_an_overlap(tmp_path: Path) -> None:
    assert len(faults(tmp_path, GOOD, GOOD)) == 1


@pytest.mark.parametrize(
    ("header", "told"),
    [
        (HEADER.replace(",currency", ""), "prices.csv:1: currency: the column is missing"),
        (HEADER + ",colour", "prices.csv:1: colour: no such column"),
        (HEADER + ",currency", "prices.csv:1: currency: the column appears twice"),
        (HEADER + ",is_override", "prices.csv:1: is_override: no such column"),
    ],
)
def test_a_header_that_does_not_fit_is_named(tmp_path: Path, header: str, told: str) -> None:
    assert any(fault.startswith(told) for fault in faults(tmp_path, GOOD, header=header))


AMOUNTS = st.decimals(min_value=0, max_value=10**6, places=9)


@settings(max_examples=30)
@given(st.lists(st.tuples(st.text("ab", min_size=1), AMOUNTS), max_size=5))
def test_a_digest_depends_on_content_only(rows: list[tuple[str, Decimal]]) -> None:
    prices = [{"model_id": name, "rate": amount, "to": None} for name, amount in rows]
    longer = [
        {"to": None, "rate": amount + Decimal("0e-12"), "model_id": name} for name, amount in rows
    ]
    assert hash_price_rows(prices) == hash_price_rows(reversed(longer))
    if rows:
        assert hash_price_rows(prices) != hash_price_rows(
            [{**prices[0], "rate": Decimal(-1)}, *prices[1:]]
        )


PLAN_COLUMNS = {
    "plan_name": "STRING",
    "billing_period": "STRING",
    "currency": "STRING",
    "seats": "INT64",
    "price_per_seat": "NUMERIC",
    "effective_from": "DATE",
    "effective_to": "DATE",
    "effective_basis": "STRING",
    "price_version": "STRING",
    "source_url": "STRING",
    "source_date": "DATE",
}
PLAN = "team,monthly,USD,0,25,2026-04-02,,announced,2026-11-21,https://openai.com,2026-04-02"


def plans(tmp_path: Path, *lines: str) -> PriceBook:
    path = tmp_path / "plans.csv"
    path.write_text("\n".join((",".join(PLAN_COLUMNS), *lines)) + "\n")
    return PriceBook.from_file(path, columns=PLAN_COLUMNS)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (",0,25,", ",-1,25,", "plans.csv:2: seats: -1 is negative"),
        (",0,25,", ",,25,", "plans.csv:2: seats: must not be empty"),
        (",0,25,", ",many,25,", "plans.csv:2: seats: 'many' is not a valid INT64"),
        (",0,25,", ",0,-25,", "plans.csv:2: price_per_seat: -25 is negative"),
        (",0,25,", ",0,,", "plans.csv:2: price_per_seat: must not be empty"),
        ("monthly", "weekly", "plans.csv:2: billing_period: 'weekly' is none of"),
        ("USD", "usd", "plans.csv:2: currency: 'usd' is not an ISO 4217 code"),
        ("04-02,,", "04-02,2026-04-02,", "plans.csv:2: effective_to: 2026-04-02 ends"),
        (",2026-11-21,", ",,", "plans.csv:2: price_version: must not be empty"),
    ],
)
def test_a_book_of_plans_is_checked_by_the_same_rules(
    tmp_path: Path, old: str, new: str, told: str
) -> None:
    with pytest.raises(PriceBookError) as caught:
        plans(tmp_path, PLAN.replace(old, new, 1))
    found = caught.value.details["errors"]
    assert isinstance(found, list)
    assert any(fault.startswith(told) for fault in found), found


def test_a_plan_may_be_paid_by_the_month_and_by_the_year_but_not_twice(tmp_path: Path) -> None:
    book = plans(tmp_path, PLAN, PLAN.replace("monthly", "annual"))
    assert (len(book.prices), book.edition) == (2, "2026-11-21")
    with pytest.raises(PriceBookError) as caught:
        plans(tmp_path, PLAN, PLAN.replace("2026-04-02", "2026-05-01"))
    assert "plans.csv:3: effective_from: 2026-05-01 overlaps line 2: team/monthly" in str(
        caught.value.details["errors"]
    )


def test_the_newest_line_names_the_edition(tmp_path: Path) -> None:
    later = PLAN.replace("team", "pro").replace("2026-11-21", "2026-12-01")
    assert plans(tmp_path, PLAN, later).edition == "2026-12-01"
