"""Each effect of the sandbox's bill is named, with the amount that the sandbox states.

Reading a day is slow, so that every effect has one day of the same organization.
"""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import pytest

from convergence.api.reconciliation.reading import (
    Grouping,
    ReconciliationQuery,
    format_csv,
    read_reconciliation,
)
from support.costs.streams import BilledOrg, sum_reasons, sum_shares
from support.processor_env import NOW, OrgEnv, ProcessorEnv
from support.sandbox_process import SandboxProcess

# Reading twenty days takes minutes on a busy machine.
pytestmark = pytest.mark.timeout(1200)
FIRST = date(2026, 10, 19)
Rows = list[dict[str, Any]]

if TYPE_CHECKING:
    from convergence.api.http.services import ApiServices
    from convergence.api.reconciliation.models import ReconciliationResponse


class Effect(NamedTuple):
    """One effect, the reasons that share its amount, and whether they explain it."""

    name: str
    fields: dict[str, Any]
    reasons: set[str]
    is_explained: bool = True


AS_LINE = {"parameters": {"shown_as": "line"}}
TUNED = "ft:gpt-4o-2024-08-06:acme::abc123"
TRAINING = {"meter": "fine-tuning training", "amount": "7.25"}
DECLARED = (
    Effect("images", {}, {"unknown_unit"}),
    # Projects without a store have no usage of it.
    Effect("vector_storage", {}, {"unknown_unit", "no_meter"}),
    Effect("credit", {}, {"credit"}),
    Effect("regional_uplift", {"models": ["gpt-4.1-*"], **AS_LINE}, {"regional"}),
    Effect(
        "long_context",
        {
            "models": ["gpt-6-astra"],
            "meters": ["input_tokens", "cached_input_tokens", "output_tokens"],
            **AS_LINE,
        },
        {"long_context"},
    ),
    Effect("long_cache_writes", {"models": ["gpt-6-astra"], **AS_LINE}, {"cache_write_12h"}),
    Effect("free_tokens", {"models": ["gpt-4o-mini-*"], **AS_LINE}, {"free_tokens"}),
)
UNDECLARED = Effect("undeclared_factor", {"models": ["o4-mini-*"]}, {"price_differs"}, False)
OTHERS = (
    Effect("extra_line", {"parameters": TRAINING}, {"no_meter"}),
    Effect(
        "long_context",
        # Of what is written to the cache, the caveat of its retention would fit as well.
        {"models": ["gpt-6-astra"], "meters": ["input_tokens", "output_tokens"]},
        {"long_context_not_visible"},
    ),
    Effect("long_cache_writes", {"models": ["gpt-6-astra"]}, {"cache_write_12h_at_common_rate"}),
    Effect("regional_uplift", {"models": ["gpt-4.1-*"]}, {"price_differs"}, False),
    Effect("free_tokens", {"models": ["gpt-4o-mini-*"]}, {"price_differs"}, False),
    Effect("missing_lines", {"models": ["o4-mini-*"]}, {"bill_missing"}),
    UNDECLARED,
)
SINGLE = (*DECLARED, *OTHERS)
NAMES = ("gpt-4o", "gpt-4o-2024-11-20", TUNED)
# Weekdays: at weekends some models and images are not used.
DAYS = [
    day for day in (FIRST + timedelta(days=number) for number in range(40)) if day.isoweekday() < 6
][: len(SINGLE) + 4]
CURRENCY, ALL_DECLARED, ALL_AND_ONE, PLAIN = DAYS[-4:]


class Compared(NamedTuple):
    """The compared rows of an organization, and what the sandbox says of its bill."""

    org: OrgEnv
    rows: Rows
    caused: Rows

    def of(self, day: date) -> Rows:
        return [row for row in self.rows if row["usage_date"] == day]

    def exact(self, day: date, name: str) -> Decimal:
        mine = [one for one in self.caused if (one["day"], one["effect"]) == (str(day), name)]
        return sum((Decimal(one["amount"]) for one in mine), Decimal(0))


@pytest.fixture(scope="module")
def compared(env: ProcessorEnv, sandbox: SandboxProcess) -> Compared:
    org = env.new_org().at(NOW + timedelta(days=30))
    billed = BilledOrg(org, sandbox, DAYS, seed="reconciled_0")

    def add(name: str, day: date, **fields: Any) -> None:
        billed.add_effect(name, first_day=str(day), last_day=str(day), **fields)

    for day, one in zip(DAYS, SINGLE, strict=False):
        add(one.name, day, **one.fields)
    for one in DECLARED:
        add(one.name, ALL_DECLARED, **one.fields)
        add(one.name, ALL_AND_ONE, **one.fields)
    add(UNDECLARED.name, ALL_AND_ONE, **UNDECLARED.fields)
    add("currency", CURRENCY)
    for model, to in zip(
        ("gpt-4o-2024-08-06", "gpt-5-2025-*", "o4-mini-*"),
        (TUNED, "gpt-5", "o4-mini-latest"),
        strict=True,
    ):
        add("renamed_model", PLAIN, models=[model], parameters={"to": to})
    return Compared(org, billed.compare(), billed.read_caused())


def is_equal(found: Decimal, exact: Decimal, rows: Rows) -> bool:
    """Return whether two sums differ by no more than the rounding of the rows that were added."""
    return abs(found - exact) <= Decimal("1e-9") * 20 * len(rows)


def test_another_name_of_a_model_is_no_difference(compared: Compared) -> None:
    rows = compared.of(PLAIN)
    assert len(rows) > 10
    assert sum_reasons(rows) == {}
    assert sum(row["billed_cost"] for row in rows) > 100


@pytest.mark.parametrize("number", range(len(SINGLE)), ids=lambda at: f"{at}-{SINGLE[at].name}")
def test_the_reconciliation_names_an_effect_with_its_amount(
    compared: Compared, number: int
) -> None:
    day, effect = DAYS[number], SINGLE[number]
    rows, exact = compared.of(day), compared.exact(day, effect.name)
    assert exact != 0
    reasons = sum_reasons(rows)
    assert set(reasons) <= effect.reasons
    assert is_equal(sum(reasons.values(), Decimal(0)), exact, rows)
    explained, left = sum_shares(rows)
    assert (left == 0) if effect.is_explained else (explained < left)


def test_another_currency_is_compared_by_quantity(compared: Compared) -> None:
    rows = compared.of(CURRENCY)
    assert set(sum_reasons(rows)) == {"currency"}
    crossed = [row for row in rows if row["computed_currency"] == "USD" and row["billed_cost"]]
    assert len(crossed) > 10
    for row in crossed:
        assert (row["billing_currency"], row["difference"]) == ("EUR", None)
        assert row["computed_quantity"] == row["billed_quantity"]
        assert not row["is_comparable"]


def test_a_declared_set_is_explained_in_full(compared: Compared) -> None:
    rows = compared.of(ALL_DECLARED)
    reasons = sum_reasons(rows)
    assert set(reasons) <= set().union(*(one.reasons for one in DECLARED))
    assert sum_shares(rows)[1] == 0
    for one in DECLARED[2:]:
        (reason,) = one.reasons
        assert is_equal(reasons[reason], compared.exact(ALL_DECLARED, one.name), rows)


def test_an_undeclared_factor_is_all_that_is_not_explained(compared: Compared) -> None:
    rows = compared.of(ALL_AND_ONE)
    exact = compared.exact(ALL_AND_ONE, UNDECLARED.name)
    assert exact < 0
    assert is_equal(sum_reasons(rows)["price_differs"], exact, rows)
    assert is_equal(sum_shares(rows)[1], -exact, rows)
    (row, *_) = [row for row in rows if row["reasons"] and row["sku_id"].startswith("o4-mini")]
    assert "contract_discount" in row["candidates"]


def test_reasons_add_up_to_each_difference(compared: Compared) -> None:
    for row in compared.rows:
        if row["is_comparable"]:
            assert sum((one["amount"] for one in row["reasons"]), Decimal(0)) == row["difference"]
            assert row["quantity_effect"] + row["price_effect"] == row["difference"]


def read(compared: Compared, *names: Grouping) -> ReconciliationResponse:
    query = ReconciliationQuery(compared.org.slug, ALL_AND_ONE, ALL_AND_ONE, names)
    services = SimpleNamespace(
        warehouse=compared.org.env.warehouse, settings=compared.org.env.settings
    )
    return read_reconciliation(query, services=cast("ApiServices", services))


def test_the_api_sums_the_reasons(compared: Compared) -> None:
    rows = compared.of(ALL_AND_ONE)
    found = read(compared, Grouping.STREAM, Grouping.REASON)
    amounts = {row.reason: row.difference for row in found.rows if row.reason != "rounding"}
    assert amounts == sum_reasons(rows)
    (total,) = found.totals
    assert total.difference == sum((row.difference for row in found.rows), Decimal(0))
    assert (total.explained_amount, total.unexplained_amount) == sum_shares(rows)
    assert 0 < total.explained_share < 1
    assert (total.days_compared, total.days_not_comparable) == (1, 0)
    assert {row.stream for row in found.rows} == {"openai/api"}


def test_the_api_sums_the_models(compared: Compared) -> None:
    rows = compared.of(ALL_AND_ONE)
    found = read(compared, Grouping.SKU)
    for name in ("billed_cost", "computed_cost", "difference"):
        both = (getattr(row, name) for row in found.rows)
        assert sum(both, Decimal(0)) == sum((row[name] for row in rows), Decimal(0))
    lines = format_csv(found).splitlines()
    assert lines[0] == (
        "sku,currency,computed_cost,billed_cost,difference,explained_amount,unexplained_amount"
    )
    assert len(lines) == len(found.rows) + 1
