"""Publishing what a query makes: filled, recorded with its totals, found again."""

from __future__ import annotations

from decimal import Decimal

import pytest

from convergence.errors import (
    SchemaError,
)
from convergence.runs.ledger import Action
from convergence.runs.publisher import PricedDay
from convergence.runs.slices import SliceKey
from convergence.warehouse.day_file import Money
from convergence.warehouse.names import TableName
from convergence.warehouse.schemas import TableSchema
from convergence.warehouse.tables.evolve import ensure_table
from support.warehouse_env import DAY, KEY, NOW, SCHEMA, TABLE, WarehouseEnv

PRICED = TableSchema.model_validate(
    {
        "table": "priced",
        "description": "A priced table of the tests",
        "partition": {"field": "usage_date", "type": "DAY"},
        "fields": [
            {"name": "usage_date", "type": "DATE", "description": "UTC day."},
            {"name": "model", "type": "STRING", "description": "Model."},
            {"name": "cost", "type": "NUMERIC", "description": "Cost in USD."},
        ],
    }
)
PRICE = """
SELECT usage_date, model, cost * 2 AS cost
FROM `{{ project }}.{{ dataset }}.usage`
WHERE usage_date = @day
"""
TOTALS = """
SELECT 'USD' AS currency, 'computed' AS basis, SUM(cost) AS amount
FROM `{{ project }}.{{ dataset }}.priced`
WHERE usage_date = @day
HAVING COUNT(*) > 0
"""


@pytest.fixture
def priced(stage: WarehouseEnv) -> tuple[TableName, SliceKey]:
    name = TableName(TABLE.dataset, "priced")
    ensure_table(stage.warehouse, name, PRICED)
    return name, SliceKey(KEY.org_slug, KEY.pipeline_id, "priced", DAY)


def _query(stage: WarehouseEnv, content: str) -> PricedDay:
    (stage.folder / "price.sql").write_text(PRICE)
    (stage.folder / "totals.sql").write_text(TOTALS)
    return PricedDay(
        sql_path=stage.folder / "price.sql",
        identifiers={"dataset": TABLE.dataset},
        params={"day": DAY},
        content_hash=content,
        totals_path=stage.folder / "totals.sql",
    )


def test_a_query_fills_its_partition_and_is_recorded_with_its_totals(
    stage: WarehouseEnv, priced: tuple[TableName, SliceKey]
) -> None:
    table, key = priced

    def publish(content: str, run: str) -> tuple[Action, tuple[Money, ...], int]:
        row = stage.publisher.publish_query(
            key,
            _query(stage, content),
            table=table,
            schema=PRICED,
            run_id=run,
            now=NOW,
            settle_days=5,
        )
        return row.action, row.totals, row.row_count

    stage.publish(["1.000000001", "2"])
    total = (Money("USD", "computed", Decimal("6.000000002")),)
    assert publish("a", "run_1") == (Action.PUBLISHED, total, 2)
    assert publish("a", "run_2") == (Action.UNCHANGED, total, 2)
    stage.publish([], run="run_2")
    assert publish("b", "run_2") == (Action.PUBLISHED, (), 0)
    assert publish("b", "run_3") == (Action.UNCHANGED, (), 0)
    descriptions = [
        field.description for field in stage.warehouse.client.get_table(f"{table}").schema
    ]
    assert descriptions == [field.description for field in PRICED.fields]


def test_a_query_job_is_found_again(
    stage: WarehouseEnv, priced: tuple[TableName, SliceKey]
) -> None:
    table, key = priced
    stage.publish(["1"])
    outcomes = []
    for _ in range(2):
        attempt = stage.publisher.begin_attempts([key])[key]
        blind = type(attempt)(key=key, number=attempt.number, previous=None)
        row = stage.publisher.publish_query(
            blind,
            _query(stage, "a"),
            table=table,
            schema=PRICED,
            run_id="run_1",
            now=NOW,
            settle_days=5,
        )
        outcomes.append((row.action, row.job_id))
    (first, first_job), (second, second_job) = outcomes
    assert (first, second) == (Action.PUBLISHED, Action.PUBLISHED)
    assert first_job == second_job


def test_a_table_with_required_columns_takes_no_query(
    stage: WarehouseEnv, priced: tuple[TableName, SliceKey]
) -> None:
    with pytest.raises(SchemaError):
        stage.publisher.publish_query(
            KEY,
            _query(stage, "a"),
            table=TABLE,
            schema=SCHEMA,
            run_id="run_1",
            now=NOW,
            settle_days=5,
        )
