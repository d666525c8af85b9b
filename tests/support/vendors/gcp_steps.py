"""The steps of `gcp.cost.billing` for an org, and sums of what they have published."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

from convergence.processors.context import PipelineInfo, StepResult
from convergence.processors.gcp.billing_export import copy_export
from convergence.processors.gcp.config import BillingCostConfig, BqEtlConfig
from convergence.processors.gcp.cost_days import sum_costs
from support.processor_env import OrgEnv

BILLING = PipelineInfo(
    pipeline_id="gcp-cost-billing", dag_id="gcp.cost.billing", provider="gcp", settle_days=5
)
COST = BillingCostConfig(source_view="gcp/cost/views/gcp_billing_source.sql")
FAR_BACK = BqEtlConfig(overlap_days=30)
DAYS = [date(2026, 11, day) for day in range(16, 21)]


def run_steps(
    org: OrgEnv,
    *,
    days: Sequence[date] = DAYS,
    run_id: str = "run_1",
    config: BqEtlConfig | None = None,
    **params: str,
) -> tuple[StepResult, StepResult]:
    """Both steps, as the pipeline has them."""
    context = replace(
        org.context(days, run_id=run_id, step="extract_billing", pipeline=BILLING), params=params
    )
    copied = copy_export(context, config or BqEtlConfig())
    return copied, sum_costs(replace(context, step="transform_cost"), COST)


def sums(rows: Sequence[dict[str, Any]], key: str, amount: str = "net_cost") -> dict[str, Decimal]:
    found: dict[str, Decimal] = defaultdict(Decimal)
    for row in rows:
        found[str(row[key])] += row[amount]
    return dict(found)


def decimals(told: dict[str, str]) -> dict[str, Decimal]:
    return {name: Decimal(text) for name, text in told.items()}


def hashes(org: OrgEnv) -> dict[date, str]:
    """What the ledger says the copied days hold."""
    ledger = org.env.services.ledger.read_latest(orgs=[org.slug], pipeline_id=BILLING.pipeline_id)
    return {
        key.day: row.content_hash
        for key, row in ledger.items()
        if key.table == "gcp_billing_daily_raw"
    }


def loads(org: OrgEnv) -> int:
    """Jobs that have published into the org's dataset."""
    jobs = org.env.warehouse.client.list_jobs()
    return sum(job.job_id.startswith("convergence-") and org.slug in job.job_id for job in jobs)
