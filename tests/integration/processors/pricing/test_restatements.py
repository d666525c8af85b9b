"""A provider changes a day long past: it is republished and reported with both totals."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from convergence.processors.anthropic.config import BilledConfig, CostConfig, UsageConfig
from convergence.processors.anthropic.extraction import extract_billed, extract_usage
from convergence.processors.context import PipelineInfo, StepResult
from convergence.processors.generic.config import SeedCsvConfig
from convergence.processors.lib.pricing.price_seed import seed_prices
from convergence.processors.lib.pricing.pricing import price_usage
from support.processor_env import NOW, OrgEnv

DAY = date(2026, 11, 17)
ACCEPTED = {"start_date": str(DAY), "end_date": str(DAY), "reason": "a test"}
FACTS = PipelineInfo(
    pipeline_id="anthropic-usage-cost",
    dag_id="anthropic.usage_cost",
    provider="anthropic",
    settle_days=3,
)
SEED = SeedCsvConfig(
    table="anthropic_model_pricing",
    schema_file="anthropic/seed/schemas/anthropic_model_pricing.json",
    data_file="anthropic/seed/data/default_pricing.csv",
)
COST_VIEW = "anthropic/cost/views/anthropic_cost_source.sql"
BILLED_VIEW = "anthropic/cost/views/anthropic_billed_source.sql"


def run_steps(org: OrgEnv, run_id: str) -> dict[str, StepResult]:
    def context(step: str) -> Any:
        made = org.context([DAY], step=step, run_id=run_id, pipeline=FACTS)
        # Another key states other figures, some of them lower.
        return replace(made, params={"accept_shrink": ACCEPTED})

    seed_prices(context("seed"), SEED)
    billed = {"api": "analytics", "source_view": BILLED_VIEW}
    return {
        "usage": extract_usage(context("usage"), UsageConfig()),
        "cost": price_usage(context("cost"), CostConfig.from_values({"source_view": COST_VIEW})),
        "billed": extract_billed(context("billed"), BilledConfig.from_values(billed)),
    }


def read_costs(org: OrgEnv) -> dict[str, tuple[str, Decimal]]:
    """Basis → finality of the day in the ledger, and its cost."""
    latest = org.env.services.ledger.read_latest(
        orgs=[org.slug], pipeline_id=FACTS.pipeline_id, since=DAY
    )
    finality = {key.table: row.finality.value for key, row in latest.items()}
    rows = org.rows(
        "cost_daily_by_basis", f"WHERE x_UsageDate = '{DAY}' AND x_PricingStatus = 'PRICED'"
    )
    return {
        basis: (
            finality[table],
            sum((row["EffectiveCost"] for row in rows if row["x_Basis"] == basis), Decimal(0)),
        )
        for basis, table in (
            ("computed", "anthropic_cost_daily"),
            ("billed", "anthropic_billed_daily"),
        )
    }


def test_a_changed_day_goes_from_settling_to_final_to_restated_and_back(org: OrgEnv) -> None:
    looks = ((-2, "acme"), (0, "acme"), (1, "late-corrections"), (2, "late-corrections"))
    finalities, costs, results = [], [], []
    for number, (days, seed) in enumerate(looks):
        org.env.keys[org.slug] = f"sk-ant-admin-sandbox-{seed}"
        results.append(run_steps(org.at(NOW + timedelta(days=days)), f"run_{number}"))
        found = read_costs(org)
        finalities.append({basis: state for basis, (state, _) in found.items()})
        costs.append({basis: cost for basis, (_, cost) in found.items()})

    assert finalities == [
        dict.fromkeys(("computed", "billed"), told)
        for told in ("SETTLING", "FINAL", "RESTATED", "FINAL")
    ]
    assert costs[1] != costs[2]
    assert not any(
        "restated" in one.details for step in (0, 1, 3) for one in results[step].values()
    )
    for name, basis in (("cost", "computed"), ("billed", "billed")):
        facts = results[2][name].details
        assert facts["days_restated"] == 1
        ((old,), (new,)) = (facts["restated"][0][which] for which in ("previous_totals", "totals"))
        assert (old["currency"], old["basis"], new["basis"]) == ("USD", basis, basis)
        assert Decimal(old["amount"]) == costs[1][basis]
        assert Decimal(new["amount"]) == costs[2][basis]
        assert facts["restated"][0]["day"] == "2026-11-17"
        assert facts["restated"][0]["previous_run_id"] == "run_1"


def test_the_ledger_keeps_every_total_a_day_ever_had(org: OrgEnv) -> None:
    for number, seed in enumerate(("one", "two", "three")):
        org.env.keys[org.slug] = f"sk-ant-admin-sandbox-{seed}"
        run_steps(org.at(NOW + timedelta(days=number)), f"run_{number}")
    rows = org.env.ask(
        "SELECT finality, totals, previous_totals, previous_run_id"
        f" FROM `{org.env.warehouse.project}.organizations.org_meta_slices`"
        f" WHERE org_slug = '{org.slug}' AND checked_at >= '2026-01-01'"
        " AND table_name = 'anthropic_billed_daily' ORDER BY attempt"
    )
    assert [row["finality"] for row in rows] == ["FINAL", "RESTATED", "RESTATED"]
    assert [row["previous_run_id"] for row in rows] == [None, "run_0", "run_1"]
    assert [row["previous_totals"] for row in rows[1:]] == [row["totals"] for row in rows[:2]]
    assert len({row["totals"][0]["amount"] for row in rows}) == 3
