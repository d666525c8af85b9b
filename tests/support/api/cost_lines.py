"""Authoritative rows of cost streams, written as their partitions would hold them."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from google.cloud import bigquery

from convergence.processors.lib.daily.cost_view import load_stream_schema
from convergence.providers.cost_streams import Stream, list_streams
from convergence.providers.registry import load_registry
from convergence.warehouse.names import TableName
from convergence.warehouse.tables.evolve import ensure_table
from support.processor_env import ProcessorEnv


def build_line(day: date, cost: str | None, **columns: Any) -> dict[str, Any]:
    """Return a row of a stream's table: billed usage in USD of `day`, unless columns differ."""
    month = day.replace(day=1)
    following = (month + timedelta(days=32)).replace(day=1)
    return {
        "x_UsageDate": day.isoformat(),
        "BilledCost": cost,
        "EffectiveCost": cost,
        "ContractedCost": cost,
        "ListCost": cost,
        "BillingCurrency": "USD",
        "BillingPeriodStart": f"{month}T00:00:00Z",
        "BillingPeriodEnd": f"{following}T00:00:00Z",
        "ChargeCategory": "Usage",
        "x_Basis": "billed",
        "x_PricingStatus": "PRICED",
        "x_Money": "charge",
        "x_Shown": "billed",
        "x_BillState": "covers",
        "x_UsageState": "published",
        "x_Finality": "FINAL",
        "x_BillRunId": "run_bill",
        "x_UsageRunId": "run_usage",
        **columns,
    }


COMPUTED = {
    "x_Basis": "computed",
    "x_Shown": "computed",
    "x_BillState": "expected",
    "x_BillRunId": None,
    "x_Finality": "SETTLING",
}


def find_stream(env: ProcessorEnv, stream_id: str) -> Stream:
    """Return a stream of the registry."""
    streams = list_streams(load_registry(env.settings))
    return next(stream for stream in streams if stream.id == stream_id)


def write_lines(
    env: ProcessorEnv, org_slug: str, stream_id: str, lines: Iterable[Mapping[str, Any]]
) -> None:
    """Append rows to the table of a stream of an org."""
    stream = find_stream(env, stream_id)
    table = TableName(env.settings.org_dataset(org_slug), stream.table)
    ensure_table(env.warehouse, table, load_stream_schema(env.settings.configs_dir, stream.table))
    common = {"x_CostStream": stream.id, "x_Provider": stream.provider, "x_OrgSlug": org_slug}
    text = "\n".join(json.dumps({**common, **line}, default=_format) for line in lines)
    config = bigquery.LoadJobConfig(
        source_format="NEWLINE_DELIMITED_JSON", write_disposition="WRITE_APPEND"
    )
    target = f"{env.warehouse.project}.{table}"
    file = io.BytesIO(text.encode())
    env.warehouse.client.load_table_from_file(file, target, job_config=config).result()


def _format(value: object) -> str:
    assert isinstance(value, Decimal | date)
    return str(value)
