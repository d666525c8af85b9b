"""Tables filled by SQL files: by day and as a whole, remade when what they follow from changed."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pytest
import yaml

from convergence.errors import ConfigurationError
from convergence.processors.context import PipelineInfo, StepResult
from convergence.processors.generic.config import LocalBqTransformerConfig
from convergence.processors.lib.transform.transform import transform
from convergence.settings import PROJECT_ROOT
from convergence.warehouse.names import TableName
from convergence.warehouse.schemas import TableSchema
from convergence.warehouse.tables.evolve import ensure_table
from support.processor_env import OrgEnv

CONFIGS = PROJECT_ROOT / "include" / "configs"
DAYS = [date(2026, 11, 18), date(2026, 11, 19)]
TABLE = "subscription_cost_daily"
FACTS = PipelineInfo(
    pipeline_id="example-subscription-costs",
    dag_id="example.finance.subscription_costs_transform",
    tables=(TABLE,),
)


def step(**changes: Any) -> LocalBqTransformerConfig:
    path = CONFIGS / "example" / "finance" / "subscription_costs_transform.yml"
    config = yaml.safe_load(path.read_text())["steps"][0]["config"]
    return LocalBqTransformerConfig.from_values({**config, **changes})


class Finance:
    """An org that maintains plans."""

    def __init__(self, org: OrgEnv) -> None:
        self.org = org
        schema = TableSchema.load(CONFIGS / "openai/seed/schemas/openai_subscriptions.json")
        ensure_table(org.env.warehouse, TableName(org.dataset, "openai_subscriptions"), schema)

    def maintain(self, name: str, *, seats: int, price: str, since: str, period: str) -> None:
        self.org.env.ask(
            f"INSERT INTO {self.org.table('openai_subscriptions')} (plan_name, billing_period,"
            " currency, is_override, seats, price_per_seat, effective_from, effective_basis,"
            f" price_version, updated_at) VALUES ('{name}', '{period}', 'USD', TRUE, {seats},"
            f" NUMERIC '{price}', '{since}', 'announced', 'own', TIMESTAMP '2026-11-01')"
        )

    def run(
        self, config: LocalBqTransformerConfig, days: list[date] = DAYS, *, run_id: str = "run_1"
    ) -> StepResult:
        return transform(self.org.context(days, run_id=run_id, pipeline=FACTS), config)


@pytest.fixture
def finance(org: OrgEnv) -> Finance:
    made = Finance(org)
    made.maintain("business", seats=7, price="25", since="2026-04-02", period="monthly")
    made.maintain("enterprise", seats=3, price="720", since="2026-11-19", period="annual")
    return made


def test_each_day_holds_what_the_plans_in_force_come_to(finance: Finance) -> None:
    result = finance.run(step())
    rows = {(row["usage_date"], row["plan_name"]): row for row in finance.org.rows(TABLE)}
    monthly, annual = Decimal(175) / 30, Decimal(2160) / 365
    assert {key: row["daily_cost"] for key, row in rows.items()} == {
        (DAYS[0], "business"): round(monthly, 9),
        (DAYS[1], "business"): round(monthly, 9),
        (DAYS[1], "enterprise"): round(annual, 9),
    }
    assert result.rows_processed == 3
    assert result.details["bytes_estimated"] > 0


def test_the_ledger_keeps_each_days_sums(finance: Finance) -> None:
    finance.run(step())
    rows = finance.org.env.services.ledger.read_latest(
        orgs=[finance.org.slug], pipeline_id=FACTS.pipeline_id
    )
    totals = {
        key.day: [(one.currency, one.amount) for one in row.totals] for key, row in rows.items()
    }
    assert totals[DAYS[0]] == [("USD", Decimal("5.833333333"))]


def test_a_day_is_made_anew_only_when_what_it_follows_from_has_changed(finance: Finance) -> None:
    finance.run(step())
    assert finance.run(step(), run_id="run_2").details["days_unchanged"] == 2
    finance.maintain("pro", seats=1, price="200", since="2026-11-18", period="monthly")
    assert finance.run(step(), run_id="run_3").details["days_published"] == 2
    assert len(finance.org.rows(TABLE)) == 5


def test_a_query_that_would_read_too_much_is_not_run(finance: Finance) -> None:
    with pytest.raises(ConfigurationError, match="more bytes than max_bytes_billed") as refusal:
        finance.run(step(max_bytes_billed=1))
    assert refusal.value.details["bytes"] > refusal.value.details["max_bytes_billed"] == 1  # type: ignore[operator]  # an int
    assert finance.org.rows(TABLE) == []
