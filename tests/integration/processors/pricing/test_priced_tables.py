"""The whole cost tables of both vendors, column by column, against stored rows.

`tests/data/pricing/{vendor}.json` holds prices and usage that reach every rule: tiers, own rates,
currencies, dates, context windows, families of names, units, missing rates and broken counts. The
stored rows come from the statement that each vendor had for itself before both shared one.
"""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from google.cloud.bigquery import LoadJobConfig

from convergence.extract.spool import Spool
from convergence.processors.anthropic.config import CostConfig as AnthropicCost
from convergence.processors.context import PipelineInfo
from convergence.processors.lib.daily.fields import day_of
from convergence.processors.lib.pricing.pricing import price_usage
from convergence.processors.lib.pricing.pricing_config import PricingConfig
from convergence.processors.openai.config import CostConfig as OpenAiCost
from convergence.runs.slices import SliceKey
from convergence.settings import PROJECT_ROOT
from convergence.warehouse.names import TableName
from convergence.warehouse.schemas import TableSchema
from convergence.warehouse.tables.evolve import ensure_table
from support.processor_env import OrgEnv, ProcessorEnv

DATA = PROJECT_ROOT / "tests" / "data" / "pricing"
DAY = date(2026, 11, 17)


@dataclass(frozen=True)
class Vendor:
    """A vendor's pricing step and the files of its tables."""

    name: str
    config: PricingConfig

    @property
    def pipeline(self) -> PipelineInfo:
        return PipelineInfo(
            pipeline_id=f"{self.name}-usage-cost", dag_id=f"{self.name}.cost", provider=self.name
        )

    @property
    def usage_schema(self) -> str:
        return f"{self.name}/cost/schemas/{self.config.usage_table}.json"

    @property
    def price_schema(self) -> str:
        return f"{self.name}/seed/schemas/{self.config.pricing_table}.json"


VENDORS = [
    Vendor(
        "openai",
        OpenAiCost.from_values({"source_view": "openai/cost/views/openai_cost_source.sql"}),
    ),
    Vendor(
        "anthropic",
        AnthropicCost.from_values(
            {"source_view": "anthropic/cost/views/anthropic_cost_source.sql"}
        ),
    ),
]


def stored_tables(vendor: Vendor) -> dict[str, list[dict[str, Any]]]:
    """The file's tables, each a list of rows by column."""
    found: dict[str, Any] = json.loads((DATA / f"{vendor.name}.json").read_text())
    return {
        name: [dict(zip(table["columns"], row, strict=True)) for row in table["rows"]]
        if isinstance(table, dict)
        else table
        for name, table in found.items()
    }


def fill(org: OrgEnv, vendor: Vendor, folder: Path) -> None:
    """Give the org the stored prices and usage."""
    configs, warehouse = org.env.settings.configs_dir, org.env.warehouse
    data = stored_tables(vendor)
    prices = TableName(org.dataset, vendor.config.pricing_table)
    ensure_table(warehouse, prices, TableSchema.load(configs / vendor.price_schema))
    target = f"{warehouse.project}.{prices}"
    schema = warehouse.client.get_table(target).schema
    load = LoadJobConfig(write_disposition="WRITE_TRUNCATE", schema=schema)
    warehouse.client.load_table_from_json(data["prices"], target, job_config=load).result()
    usage = TableName(org.dataset, vendor.config.usage_table)
    usage_schema = TableSchema.load(configs / vendor.usage_schema)
    ensure_table(warehouse, usage, usage_schema)
    spool = Spool.open(folder / uuid.uuid4().hex, fingerprint="test")
    spool.write_page(data["usage"], next_token=None)
    org.env.services.publisher.publish_rows(
        SliceKey(org.slug, vendor.pipeline.pipeline_id, usage.table, DAY),
        spool.write_day_files(day_of, [DAY])[DAY],
        table=usage,
        schema=usage_schema,
        run_id="run_1",
        now=org.env.services.now(),
        settle_days=3,
    )


def priced(org: OrgEnv, vendor: Vendor, folder: Path) -> dict[str, list[Any]]:
    """Price the stored usage and give the rows of every statement that follows from it."""
    fill(org, vendor, folder)
    config = vendor.config
    result = price_usage(org.context([DAY], pipeline=vendor.pipeline), config)
    assert config.source_view is not None
    source = Path(config.source_view).stem
    summary = result.details
    names = ("effective_cost", "unpriced_rows", "unpriced_by_reason", "unpriced", "free")
    return {
        "cost": _as_text(org.rows(config.table)),
        "source": _as_text(org.rows(source)),
        "summary": [{name: summary[name] for name in names}],
    }


def _as_text(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows in an order of their own; amounts without the zeros that they end in."""
    found = [{name: _value(value) for name, value in row.items()} for row in rows]
    return sorted(found, key=lambda row: json.dumps({**row, "meters": None}, sort_keys=True))


def _value(value: object) -> object:
    if isinstance(value, list):
        return value
    if isinstance(value, Decimal):
        return format(value.normalize(), "f")
    return value if value is None or isinstance(value, bool | int) else str(value)


@pytest.mark.parametrize("vendor", VENDORS, ids=lambda vendor: vendor.name)
def test_every_column_of_every_row_is_as_stored(
    env: ProcessorEnv, tmp_path: Path, vendor: Vendor
) -> None:
    found, expected = priced(env.new_org(), vendor, tmp_path), stored_tables(vendor)
    for row in found["cost"]:
        check_meters(row, row.pop("meters"))
    assert [list(row) for row in found["cost"]] == [list(row) for row in expected["cost"]]
    assert found["cost"] == expected["cost"]
    assert found["summary"] == expected["summary"]
    assert len(found["cost"]) >= len(expected["usage"])
    # The view has a row for each meter; their sums are those of the usage rows.
    assert sum_source(found["source"]) == sum_source(expected["source"])


def check_meters(row: Mapping[str, Any], meters: Sequence[Mapping[str, Any]]) -> None:
    """Check that the meters of a row add up to the row."""
    for name in ("list_cost", "contracted_cost"):
        amounts = [meter[name] for meter in meters]
        if row[name] is None:
            assert set(amounts) <= {None}
        else:
            assert sum(amounts, Decimal(0)) == Decimal(row[name])


def sum_source(rows: Iterable[Mapping[str, Any]]) -> dict[Any, list[Decimal]]:
    """Sum the amounts and requests of a view by what its rows had in common before."""
    keys = ("x_PricingStatus", "x_UnpricedReason", "x_PriceVersion", "SubAccountId", "SkuPriceId")
    amounts = ("ListCost", "ContractedCost", "BilledCost", "EffectiveCost", "x_Requests")
    sums: dict[Any, list[Decimal]] = {}
    for row in rows:
        key = tuple(row[name] for name in (*keys, "BillingCurrency"))
        found = sums.setdefault(key, [Decimal(0)] * len(amounts))
        sums[key] = [
            total + Decimal(row[name] or 0) for total, name in zip(found, amounts, strict=True)
        ]
    return sums


REACHED = {
    "openai": {
        *("model_unknown", "tier_unknown", "unknown_unit", "unit_count_missing"),
        *("unit_count_negative", "token_counts_missing", "token_counts_inconsistent"),
        *("audio_split_unknown", "no_price", "no_price_on_day", "no_price_for_tier"),
    },
    "anthropic": {
        *("model_unknown", "tier_unknown", "priority_tier", "token_counts_missing"),
        *("counts_negative", "no_price_for_geo", "no_price", "no_price_on_day"),
        "no_price_for_tier",
    },
}


@pytest.mark.parametrize("vendor", VENDORS, ids=lambda vendor: vendor.name)
def test_the_stored_usage_reaches_every_reason_and_caveat(vendor: Vendor) -> None:
    rows, meters = stored_tables(vendor)["cost"], vendor.config.meters
    missing = {meter.no_rate for meter in meters}
    if vendor.name == "anthropic":
        missing -= {"no_rate_unit"}  # a price per unit and its unit come together
    assert {row["unpriced_reason"] for row in rows} == REACHED[vendor.name] | missing | {None}
    caveats = {name for row in rows for name in (row["price_caveat"] or "").split(",") if name}
    fallbacks = {meter.fallback_caveat for meter in meters if meter.fallback_caveat}
    assert caveats >= fallbacks | {"long_context_not_visible"}
    assert any(row["list_cost"] != row["contracted_cost"] for row in rows)
    assert {row["currency"] for row in rows} == {"USD", "EUR", None}


def test_a_column_is_added_by_the_schema_and_the_vendors_block_alone(
    env: ProcessorEnv, tmp_path: Path
) -> None:
    """The steps of docs/adding-a-cost-column.md."""
    configs = tmp_path / "configs"
    shutil.copytree(env.settings.configs_dir, configs)
    schema_path = configs / "openai/cost/schemas/openai_cost_daily.json"
    schema = json.loads(schema_path.read_text())
    column = {"name": "shape_version", "type": "INT64", "mode": "NULLABLE", "description": "Shape"}
    schema_path.write_text(json.dumps({**schema, "fields": [*schema["fields"], column]}))
    sql = configs / "openai/cost/sql/price_usage.sql"
    columns = "endpoint, project_id"
    assert columns in sql.read_text()
    sql.write_text(sql.read_text().replace(columns, f"shape_version, {columns}"))
    org, vendor = env.new_org(), VENDORS[0]
    fill(org, vendor, tmp_path)
    changed = org.served_by(configs_dir=configs)
    price_usage(changed.context([DAY], pipeline=vendor.pipeline), vendor.config)
    rows = org.rows(vendor.config.table)
    assert {row["shape_version"] for row in rows} == {1, 2}
    added = {"shape_version", "meters"}
    kept = [{name: row[name] for name in row if name not in added} for row in rows]
    assert _as_text(kept) == stored_tables(vendor)["cost"]
