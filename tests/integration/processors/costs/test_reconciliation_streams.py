"""Comparisons that depend on time, on other days, on settings, and on a bill without quantities."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest

from convergence.errors import ConfigurationError
from convergence.processors.costs.org_settings import DeclaredFactor
from convergence.state.pipeline_configs import PipelineConfig, put_config
from support.costs.streams import BilledOrg, sum_reasons, sum_shares
from support.processor_env import NOW, OrgEnv
from support.sandbox_process import SandboxProcess

pytestmark = pytest.mark.timeout(900)
LATER = NOW + timedelta(days=30)
MONDAY = date(2026, 11, 2)


def is_equal(found: Decimal, exact: Decimal, rows: list[dict[str, Any]]) -> bool:
    return abs(found - exact) <= Decimal("1e-9") * 20 * len(rows)


def caused_on(billed: BilledOrg, day: date, name: str) -> Decimal:
    mine = [one for one in billed.read_caused() if (one["day"], one["effect"]) == (str(day), name)]
    return sum((Decimal(one["amount"]) for one in mine), Decimal(0))


def test_what_a_bill_does_not_have_yet(org: OrgEnv, sandbox: SandboxProcess) -> None:
    """Two days whose bill may still change: a part of its lines, and none of a model's."""
    days = [date(2026, 11, 19), date(2026, 11, 20)]
    billed = BilledOrg(org, sandbox, days, seed="reconciled_late")
    for day, name, fields in (
        (days[0], "partial_first_read", {"parameters": {"reads": 9}}),
        (days[1], "missing_lines", {"models": ["gpt-5-2025-*"]}),
    ):
        billed.add_effect(name, first_day=str(day), last_day=str(day), **fields)
    rows = billed.compare()
    for day, name in zip(days, ("partial_first_read", "missing_lines"), strict=True):
        mine = [row for row in rows if row["usage_date"] == day]
        exact = caused_on(billed, day, name)
        assert exact < 0
        assert set(sum_reasons(mine)) == {"not_billed_yet"}
        assert is_equal(sum_reasons(mine)["not_billed_yet"], exact, mine)
    assert {row["finality"] for row in rows} == {"SETTLING"}


def test_a_day_without_a_bill_has_one_side(org: OrgEnv, sandbox: SandboxProcess) -> None:
    billed = BilledOrg(org.at(LATER), sandbox, [MONDAY], seed="reconciled_plain")
    billed.read_usage()
    (summary,) = billed.reconcile()["reconciliation"]
    rows = billed.org.rows("cost_reconciliation_daily")
    assert rows
    assert {one["reason"] for row in rows for one in row["reasons"]} == {"one_side"}
    assert all(row["difference"] is None and row["billed_cost"] is None for row in rows)
    assert (summary["days_compared"], summary["days_not_comparable"]) == (0, 1)
    # The bill comes: the day is compared. The same again publishes nothing.
    billed.read_bill()
    billed.reconcile()
    assert sum_reasons(billed.org.rows("cost_reconciliation_daily")) == {}
    assert billed.reconcile()["days_published"] == 0


def test_one_ratio_of_many_models_and_days_is_a_contract(
    org: OrgEnv, sandbox: SandboxProcess
) -> None:
    days = [MONDAY + timedelta(days=number) for number in range(7)]
    billed = BilledOrg(org.at(LATER), sandbox, days, seed="reconciled_0_discount")
    billed.add_effect("contract_discount", parameters={"ratio": "0.9"})
    rows = billed.compare()
    reasons = sum_reasons(rows)
    assert set(reasons) == {"contract_discount"}
    assert is_equal(reasons["contract_discount"], billed.sum_caused()["contract_discount"], rows)
    # Six days are not enough: with one day of another ratio nothing is a contract.
    billed.add_effect(
        "undeclared_factor", models=["*"], last_day=str(days[0]), parameters={"factor": "1.05"}
    )
    billed.read_bill()
    billed.reconcile()
    assert set(sum_reasons(billed.org.rows("cost_reconciliation_daily"))) == {"price_differs"}


def test_what_an_organization_declares_explains_a_price(
    org: OrgEnv, sandbox: SandboxProcess
) -> None:
    billed = BilledOrg(org.at(LATER), sandbox, [MONDAY], seed="reconciled_0_declared")
    billed.add_effect("regional_uplift", models=["gpt-4.1-*"])
    rows = billed.compare()
    assert set(sum_reasons(rows)) == {"price_differs"}
    (row, *_) = [row for row in rows if row["reasons"]]
    assert "regional" in row["candidates"]
    config = PipelineConfig(
        org_slug=org.slug,
        pipeline_id="openai-cost-extract",
        dag_id="openai.cost.cost_extract",
        provider="OPENAI",
        updated_at=LATER,
        updated_by="test",
        params={"declared_factors": ["regional 1.1 gpt-4.1*"], "min_explained_share": "1"},
    )
    with org.env.services.store.begin() as conn:
        put_config(conn, config)
    (summary,) = billed.reconcile()["reconciliation"]
    rows = billed.org.rows("cost_reconciliation_daily")
    exact = billed.sum_caused()["regional_uplift"]
    assert set(sum_reasons(rows)) == {"regional"}
    assert is_equal(sum_reasons(rows)["regional"], exact, rows)
    assert (summary["explained_share"], summary["is_below_threshold"]) == ("1.000000", False)


@pytest.mark.parametrize("text", ["regional", "regional 1.1", "regional x gpt", "regional 1 a b"])
def test_a_declared_factor_that_is_none_is_rejected(text: str) -> None:
    with pytest.raises(ConfigurationError, match="A declared factor is a reason"):
        DeclaredFactor.from_text(text)


def test_a_bill_without_quantities_is_compared_by_amount(
    org: OrgEnv, sandbox: SandboxProcess
) -> None:
    """Anthropic states no quantity, but list amounts."""
    days = [MONDAY + timedelta(days=number) for number in range(4)]
    effects: tuple[tuple[str, dict[str, Any], str, bool], ...] = (
        ("contract_discount", {"parameters": {"ratio": "0.92"}}, "contract_discount", True),
        (
            "long_context",
            {"models": ["claude-sonnet-4-5-*"], "parameters": {"shown_as": "line"}},
            "long_context",
            True,
        ),
        ("undeclared_factor", {"models": ["claude-haiku-4-5-*"]}, "price_differs", False),
        ("missing_lines", {"models": ["claude-haiku-4-5-*"]}, "bill_missing", True),
    )
    billed = BilledOrg(org.at(LATER), sandbox, days, seed="reconciled_claude", provider="anthropic")
    for day, (name, fields, _, _) in zip(days, effects, strict=True):
        billed.add_effect(name, first_day=str(day), last_day=str(day), **fields)
    rows = billed.compare()
    for day, (name, _, reason, is_explained) in zip(days, effects, strict=True):
        mine = [row for row in rows if row["usage_date"] == day]
        exact = caused_on(billed, day, name)
        assert exact != 0, name
        # Code execution is in no usage report.
        assert set(sum_reasons(mine)) <= {reason, "no_meter"}, name
        assert is_equal(sum_reasons(mine)[reason], exact, mine), name
        assert (sum_shares(mine)[1] == 0) == is_explained, name
        assert all(
            row["is_implied_quantity"]
            for row in mine
            if row["billed_cost"] and row["computed_cost"]
        )
