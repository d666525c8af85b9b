"""Plans by the month in real tables: prorated, idempotent, restated, and in cost_daily once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from convergence.processors.context import PipelineInfo, StepResult
from convergence.processors.generic.config import SeedCsvConfig
from convergence.processors.generic.seed_csv import SeedCsv
from convergence.processors.openai.config import SubscriptionsConfig
from convergence.processors.openai.seat_months import publish_months
from convergence.processors.openai.subscriptions import Subscriptions
from convergence.warehouse.names import TableName
from convergence.warehouse.schemas import TableSchema
from convergence.warehouse.tables.evolve import ensure_table
from support.processor_env import OrgEnv

BATCH: dict[str, Any] = {"label": "org", "runs": []}
FACTS = PipelineInfo(
    pipeline_id="openai-subscriptions",
    dag_id="openai.subscriptions",
    provider="openai",
    settle_days=31,
)
CONFIG = SubscriptionsConfig(source_view="openai/views/openai_subscriptions_source.sql")
PLANS = SeedCsvConfig(
    table="openai_subscriptions",
    schema_file="openai/seed/schemas/openai_subscriptions.json",
    data_file="openai/seed/data/default_subscriptions.csv",
)
OCTOBER, NOVEMBER = date(2026, 10, 1), date(2026, 11, 1)


@pytest.fixture
def org(org: OrgEnv) -> OrgEnv:
    """An org with list prices and no seats."""
    configs = org.env.settings.configs_dir
    for path in (PLANS.schema_file, "openai/seed/schemas/openai_model_pricing.json"):
        schema = TableSchema.load(configs / path)
        ensure_table(org.env.warehouse, TableName(org.dataset, schema.table), schema)
    step = SeedCsv(task_id="load", config={}, pipeline=FACTS, batch=BATCH)
    assert step.run_step(org.context([]), PLANS).rows_processed
    return org


def own(org: OrgEnv, begins: str, ends: str | None, seats: int, price: str = "25") -> None:
    end_date = f"DATE '{ends}'" if ends else "NULL"
    org.env.warehouse.client.query_and_wait(
        f"INSERT INTO {org.table('openai_subscriptions')} "
        "(plan_name, billing_period, currency, is_override, seats, price_per_seat,"
        " effective_from, effective_to, effective_basis, price_version, updated_at) VALUES "
        f"('chatgpt_business', 'monthly', 'USD', TRUE, {seats}, {price},"
        f" DATE '{begins}', {end_date}, 'announced', 'own', TIMESTAMP '2026-01-01')"
    )


def snapshot(org: OrgEnv, days: Sequence[date] = (), *, run_id: str = "run_1") -> StepResult:
    step = Subscriptions(task_id="extract", config={}, pipeline=FACTS, batch=BATCH)
    return step.run_step(org.context(days, run_id=run_id, pipeline=FACTS), CONFIG)


def months(org: OrgEnv) -> list[tuple[str, str, int, int, Decimal]]:
    """(from, to, days, seats, cost) of every row."""
    rows = org.rows("openai_subscriptions_monthly", "ORDER BY period_start")
    return [
        (str(row["period_start"]), str(row["period_end"]), row["days"], row["seats"], row["cost"])
        for row in rows
    ]


def test_without_seats_nothing_is_written(org: OrgEnv) -> None:
    result = snapshot(org)
    assert result.rows_processed == 0
    assert result.details["months_without_seats"] == ["2026-08", "2026-09", "2026-10", "2026-11"]
    assert result.details["months"] == []


def test_months_are_prorated_where_the_plan_changes_and_to_yesterday(org: OrgEnv) -> None:
    own(org, "2026-10-11", "2026-11-11", 31, "31")
    own(org, "2026-11-11", None, 60, "10")
    result = snapshot(org)
    assert months(org) == [
        ("2026-10-11", "2026-11-01", 21, 31, Decimal(31) * 21),
        ("2026-11-01", "2026-11-11", 10, 31, Decimal("320.333333333")),
        ("2026-11-11", "2026-11-21", 10, 60, Decimal(200)),
    ]
    assert result.details["effective_cost"] == {"USD": "1171.333333333"}
    assert (result.details["basis"], result.rows_processed) == ("computed", 3)


def test_the_same_again_is_no_new_publication_and_a_mended_month_is(org: OrgEnv) -> None:
    own(org, "2026-10-01", None, 10)
    assert snapshot(org).details["days_published"] == 2
    again = snapshot(org, run_id="run_2")
    assert (again.details["days_published"], again.details["days_unchanged"]) == (0, 2)
    own(org, "2026-10-16", None, 20)
    third = snapshot(org, run_id="run_3")
    assert third.details["days_published"] == 2
    assert [row[3] for row in months(org)] == [10, 20, 20]


def test_days_asked_for_name_their_months_only(org: OrgEnv) -> None:
    own(org, "2025-01-01", None, 10)
    result = snapshot(org, [date(2025, 3, 31), date(2025, 3, 5)])
    assert result.details["months"] == ["2025-03"]
    assert [row[0] for row in months(org)] == ["2025-03-01"]


def test_a_plan_taken_back_empties_its_months(org: OrgEnv) -> None:
    own(org, "2026-10-01", None, 10)
    snapshot(org)
    org.env.warehouse.client.query_and_wait(
        f"DELETE FROM {org.table('openai_subscriptions')} WHERE is_override"
    )
    result = snapshot(org, run_id="run_2")
    assert result.details["days_published"] == 2
    assert months(org) == []


def test_a_month_settles_after_its_last_day(org: OrgEnv) -> None:
    own(org, "2026-10-01", None, 10)
    snapshot(org)
    late = org.at(datetime(2026, 12, 2, 1, tzinfo=UTC))
    snapshot(late, [OCTOBER, NOVEMBER], run_id="run_2")
    ledger = org.env.services.ledger
    found = ledger.read_latest(orgs=[org.slug], pipeline_id=FACTS.pipeline_id)
    finality = {key.day: row.finality.value for key, row in found.items()}
    assert finality == {OCTOBER: "FINAL", NOVEMBER: "SETTLING"}


def test_each_day_of_cost_daily_has_its_share_and_the_month_sums_exactly(org: OrgEnv) -> None:
    own(org, "2026-10-01", "2026-10-08", 7, "19.99")
    own(org, "2026-10-08", None, 3, "0.01")
    snapshot(org, [OCTOBER])
    rows = org.rows("cost_daily_by_basis", "WHERE x_Provider = 'openai' ORDER BY x_UsageDate")
    assert [row["x_UsageDate"].day for row in rows] == list(range(1, 32))
    whole = org.rows("openai_subscriptions_monthly")
    assert sum(row["EffectiveCost"] for row in rows) == sum(row["cost"] for row in whole)
    assert sum(row["ListCost"] for row in rows) == sum(row["list_cost"] for row in whole)
    assert {(row["x_Basis"], row["BillingCurrency"], row["ServiceName"]) for row in rows} == {
        ("computed", "USD", "ChatGPT")
    }
    assert {row["ConsumedQuantity"] for row in rows} == {7, 3}


def test_a_month_in_another_currency_is_told_apart(org: OrgEnv) -> None:
    own(org, "2026-10-01", None, 10)
    org.env.warehouse.client.query_and_wait(
        f"UPDATE {org.table('openai_subscriptions')} SET currency = 'EUR' WHERE is_override"
    )
    result = snapshot(org, [OCTOBER])
    assert result.details["effective_cost"] == {"EUR": "250.000000000"}
    assert replace(result, details={}).rows_processed == 1


class Seats:
    """An org with plans of its own."""

    def __init__(self, org: OrgEnv) -> None:
        self.org = org

    def put(self, seats: int) -> None:
        table = self.org.table("openai_subscriptions")
        self.org.env.ask(f"DELETE FROM {table} WHERE TRUE")
        self.org.env.ask(
            f"INSERT INTO {table} (plan_name, billing_period, currency,"
            " is_override, seats, price_per_seat, effective_from, effective_basis, price_version,"
            f" updated_at) VALUES ('team', 'monthly', 'USD', TRUE, {seats}, NUMERIC '25',"
            " DATE '2026-10-01', 'announced', 'own', TIMESTAMP '2026-01-01')"
        )

    def snapshot(self, org: OrgEnv | None = None, *, attempt: int = 1) -> dict[str, Any]:
        context = (org or self.org).context([], run_id="run_1", attempt=attempt, pipeline=FACTS)
        return dict(publish_months(context, CONFIG).details)

    @property
    def seats(self) -> list[int]:
        return [row["seats"] for row in self.org.rows("openai_subscriptions_monthly")]


def test_months_follow_plans_there_and_back(org: OrgEnv) -> None:
    plans = Seats(org)
    for attempt, seats in enumerate((10, 20, 10), start=1):
        plans.put(seats)
        assert plans.snapshot(attempt=attempt)["days_published"] == 2
        assert plans.seats == [seats, seats]
    again = plans.snapshot(attempt=4)
    assert (again["days_published"], again["days_unchanged"]) == (0, 2)


def test_the_higher_attempt_has_the_newer_plans(org: OrgEnv) -> None:
    plans = Seats(org)
    plans.put(10)
    services = org.env.services

    class Interrupted(type(services.publisher)):  # type: ignore[misc]  # a class at run time
        """Another run publishes newer plans before this one takes its attempts."""

        def begin_attempts(self, keys: Any, **more: Any) -> Any:
            plans.put(20)
            plans.snapshot()
            return super().begin_attempts(keys, **more)

    publisher = Interrupted(services.warehouse, services.store, services.ledger)
    late = replace(org.env, services=replace(services, publisher=publisher))
    plans.snapshot(OrgEnv(late, org.slug))
    assert plans.seats == [20, 20]
