"""Computed against billed cost: every difference has a reason, and the reasons add up to it."""

from __future__ import annotations

import random
import uuid
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from google.cloud import bigquery

from convergence.processors.lib.daily.reconciliation import MAX_DAYS, build_report
from convergence.warehouse.params import typed
from convergence.warehouse.query import Row, run_file
from support.processor_env import ProcessorEnv

FIRST = date(2026, 1, 1)
Line = Mapping[str, Any]


class Books:
    """A dataset whose cost_daily is a table, to be filled with any lines."""

    def __init__(self, env: ProcessorEnv) -> None:
        self._w = env.warehouse
        self.dataset = f"books_{uuid.uuid4().hex[:10]}"
        self._w.client.create_dataset(self.dataset)

    def rows(self, lines: Sequence[Line], *, provider: str = "acme-ai") -> list[Row]:
        kinds = {"EffectiveCost": "NUMERIC", "ListCost": "NUMERIC", "x_UsageDate": "DATE"}
        names = (
            *("x_UsageDate", "x_Provider", "x_Basis", "BillingCurrency", "x_Model", "SkuMeter"),
            *("EffectiveCost", "ListCost", "x_UnpricedReason", "x_Finality"),
        )
        schema = [bigquery.SchemaField(name, kinds.get(name, "STRING")) for name in names]
        told = [
            {name: None if line.get(name) is None else str(line[name]) for name in names}
            for line in lines
        ]
        self._w.client.load_table_from_json(
            told,
            f"{self.dataset}.cost_daily_by_basis",
            job_config=bigquery.LoadJobConfig(schema=schema, write_disposition="WRITE_TRUNCATE"),
        ).result()
        return run_file(
            self._w,
            self._w.sql("costs/reconcile.sql"),
            identifiers={"dataset": self.dataset},
            params={
                "provider": provider,
                "days": sorted({line["x_UsageDate"] for line in lines}),
                "final_days": typed(
                    sorted(
                        {line["x_UsageDate"] for line in lines if line["x_Basis"] == "billed"}
                        - {
                            line["x_UsageDate"]
                            for line in lines
                            if line["x_Basis"] == "billed" and line["x_Finality"] != "FINAL"
                        }
                    ),
                    "DATE",
                ),
            },
        )


@pytest.fixture(scope="module")
def books(env: ProcessorEnv) -> Books:
    return Books(env)


def line(basis: str, cost: str | None, model: str | None = "m-1", **more: Any) -> dict[str, Any]:
    return {
        "x_UsageDate": FIRST,
        "x_Provider": "acme-ai",
        "x_Basis": basis,
        "BillingCurrency": "USD",
        "x_Model": model,
        "EffectiveCost": cost,
        "ListCost": cost,
        "x_Finality": "FINAL",
    } | more


def unpriced(reason: str, model: str | None = "m-1") -> dict[str, Any]:
    return line("computed", None, model, x_UnpricedReason=reason)


# What the bill and the computed cost say of one day → the reasons and what each explains.
CASES: dict[str, tuple[list[Line], dict[str, str]]] = {
    "the same": ([line("computed", "2.5"), line("billed", "2.5")], {}),
    "the same model by its dated name": (
        [line("computed", "2.5", "gpt-4o-2024-08-06"), line("billed", "2.5", "gpt-4o")], {},
    ),
    "a tool that the bill names by its text": (
        [line("computed", "1.4", "web_search"),
         line("billed", "1.4", None, SkuMeter="web search tool calls")], {},
    ),
    "a difference of rounding": (
        [line("computed", "2.5"), line("billed", "2.5000005")], {"rounding": "0.0000005"},
    ),
    "a tool that no usage counts": (
        [line("computed", "1"), line("billed", "1"), line("billed", "0.12345", "code_execution")],
        {"code_execution": "0.12345"},
    ),
    "committed capacity": (
        [unpriced("priority_tier"), line("billed", "7")], {"priority_tier": "7"},
    ),
    "a tier without a name": ([unpriced("tier_unknown"), line("billed", "3")],
                              {"tier_unknown": "3"}),
    "a model without a price": ([unpriced("no_price"), line("billed", "3")],
                                {"price_table_stale": "3"}),
    "another price": ([line("computed", "2"), line("billed", "3")], {"price_table_stale": "1"}),
    "a discount": (
        [line("computed", "10"), line("billed", "9.5", ListCost="10")], {"discount": "-0.5"},
    ),
    "a discount that the org's own rates have too": (
        [line("computed", "9.5"), line("billed", "9.5", ListCost="10")], {},
    ),
    "a discount and another price": (
        [line("computed", "8"), line("billed", "9", ListCost="12")], {"price_table_stale": "1"},
    ),
    "late on the bill": (
        [line("computed", "2"), line("computed", "1", "m-2"),
         line("billed", "1", "m-2", x_Finality="SETTLING")], {"not_billed_yet": "-2"},
    ),
    "partly on the bill": (
        [line("computed", "2"), line("billed", "0.5", x_Finality="SETTLING")],
        {"not_billed_yet": "-1.5"},
    ),
    "used and never billed": (
        [line("computed", "2"), line("computed", "1", "m-2"), line("billed", "1", "m-2")],
        {"blocked_request": "-2"},
    ),
    "two currencies that never meet": (
        [line("computed", "2"), line("billed", "2"), line("billed", "5", BillingCurrency="EUR")],
        {"price_table_stale": "5"},
    ),
}  # fmt: skip


def test_each_difference_has_its_reason(books: Books) -> None:
    days = {FIRST + timedelta(days=number): name for number, name in enumerate(CASES)}
    lines = [{**one, "x_UsageDate": day} for day, name in days.items() for one in CASES[name][0]]
    found: dict[str, dict[str, Decimal]] = {name: {} for name in CASES}
    for row in books.rows(lines):
        if row["reason"] is not None:
            found[days[row["day"]]][row["reason"]] = row["amount"]
    assert found == {
        name: {reason: Decimal(amount) for reason, amount in expected.items()}
        for name, (_, expected) in CASES.items()
    }


def test_nothing_is_told_where_only_one_basis_is_known(books: Books) -> None:
    assert books.rows([line("computed", "2")]) == []
    assert books.rows([line("billed", "2")]) == []
    both = [line("computed", "2"), line("billed", "3")]
    assert books.rows(both, provider="another") == []


@pytest.mark.parametrize("seed", range(3))
def test_the_reasons_of_a_day_add_up_to_its_gap(books: Books, seed: int) -> None:
    rng = random.Random(seed)
    lines = [_any_line(rng, FIRST + timedelta(days=day)) for day in range(120) for _ in range(6)]
    rows = books.rows(lines)
    keys = {(one["x_UsageDate"], one["BillingCurrency"]) for one in lines}
    assert {(row["day"], row["currency"]) for row in rows} == keys
    for day, currency in keys:
        mine = [row for row in rows if (row["day"], row["currency"]) == (day, currency)]
        told = sum((row["amount"] for row in mine if row["reason"]), Decimal(0))
        ((computed, billed),) = {(row["computed"], row["billed"]) for row in mine}
        assert told == billed - computed
        for basis, total in (("computed", computed), ("billed", billed)):
            assert total == sum(
                (
                    Decimal(one["EffectiveCost"] or 0)
                    for one in lines
                    if (one["x_UsageDate"], one["BillingCurrency"]) == (day, currency)
                    and one["x_Basis"] == basis
                ),
                Decimal(0),
            )


def _any_line(rng: random.Random, day: date) -> dict[str, Any]:
    basis = rng.choice(("computed", "billed"))
    cost = f"{rng.randrange(10**12)}e-9"
    cost = format(Decimal(cost), "f")
    if basis == "computed" and rng.random() < 0.2:
        more = {"x_UnpricedReason": rng.choice(("tier_unknown", "priority_tier", "no_price"))}
        return line(basis, None, rng.choice(("m-1", "m-2")), x_UsageDate=day, **more)
    listed = format(Decimal(cost) * rng.choice((1, 2)), "f") if basis == "billed" else cost
    return line(
        basis,
        cost,
        rng.choice(("m-1", "m-2", "code_execution", "web_search")),
        x_UsageDate=day,
        ListCost=listed,
        BillingCurrency=rng.choice(("USD", "EUR")),
        x_Finality=rng.choice(("FINAL", "SETTLING", "RESTATED")),
    )


def test_the_report_tells_the_newest_days_and_the_sums_of_all() -> None:
    rows: list[Row] = [
        {
            "day": FIRST + timedelta(days=number),
            "currency": "USD",
            "computed": Decimal(1),
            "billed": Decimal("1.5"),
            "reason": "price_table_stale",
            "amount": Decimal("0.5"),
        }
        for number in range(MAX_DAYS + 10)
    ]
    told = build_report(rows)
    assert told["days_compared"] == told["days_differing"] == MAX_DAYS + 10
    assert len(told["days"]) == MAX_DAYS
    assert told["days"][0]["day"] == (FIRST + timedelta(days=MAX_DAYS + 9)).isoformat()
    assert told["totals"] == [
        {"currency": "USD", "computed": "60", "billed": "90.0", "gap": "30.0"}
    ]
    assert build_report([]) == {}
