"""A customer's billing export, made up: the same rows for the same project and usage day for ever.

What makes a billing export hard is in it: rows of a day that come days later, corrections weeks
later, look-alikes that add up, credits, tax, rounding, rows of no
project, and usage within an hour of midnight in both time zones that matter.
https://docs.cloud.google.com/billing/docs/how-to/export-data-bigquery-tables/detailed-usage
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, NamedTuple

from convergence_sandbox.providers.derive import chance, number
from convergence_sandbox.providers.google.api import billing_account_id

Row = dict[str, Any]
Kind = Literal["standard", "detailed"]

DETAILED_ONLY = ("resource", "subscription")
TABLES: dict[Kind, str] = {
    "standard": "gcp_billing_export_v1_",
    "detailed": "gcp_billing_export_resource_v1_",
}
_CENT = Decimal("0.01")


class _Sku(NamedTuple):
    service: str
    service_id: str
    sku: str
    sku_id: str
    unit: str
    pricing_unit: str
    hour: int


_SKUS = (
    _Sku("Compute Engine", "6F81-5844-456A", "N1 core in Americas", "D2B2", "seconds", "hour", 8),
    _Sku("Compute Engine", "6F81-5844-456A", "N1 core in Americas", "D2B2", "seconds", "hour", 0),
    _Sku("Cloud Storage", "95FF-2EF5-5EA1", "Standard storage", "E5F0", "byte-seconds", "GiBy", 7),
    _Sku("BigQuery", "24E6-581D-38E5", "Analysis", "3362", "bytes", "tebibyte", 12),
    _Sku("Vertex AI", "C7E2-9256-1C43", "Gemini input tokens", "FDAB", "count", "count", 23),
)


def schema(kind: Kind) -> list[Row]:
    """Return the columns of the export, in BigQuery's REST form."""
    text = Path(__file__).with_name("export_schema.json").read_text(encoding="utf-8")
    fields: list[Row] = json.loads(text)
    return [one for one in fields if kind == "detailed" or one["name"] not in DETAILED_ONLY]


def table_id(project: str, kind: Kind) -> str:
    """Return the name Google gives the table of the project's billing account."""
    return TABLES[kind] + billing_account_id(project).replace("-", "_")


def exported(
    project: str, *, first: date, last: date, as_of: datetime, kind: Kind = "detailed"
) -> Iterator[Row]:
    """What Google has exported by a moment, of usage from `first` to `last`, both included."""
    for back in range((last - first).days + 1):
        for row in export_rows(project, first + timedelta(days=back)):
            if row["export_time"] <= _format_time(as_of):
                yield {name: row[name] for name in row if _has(kind, name)}


def export_rows(project: str, day: date) -> Iterator[Row]:
    """Yield every row that is ever exported of a UTC day's usage, whenever that is."""
    for workload in ("prod", "ml"):
        for index, sku in enumerate(_SKUS):
            yield from _usage(project, day, workload, index, sku)
    if number(project, day, "corrected", low=0, high=9) == 0:
        yield from _correction(project, day)
    if day.day == 1:
        yield from _invoice_lines(project, day)


def _usage(project: str, day: date, workload: str, index: int, sku: _Sku) -> Iterator[Row]:
    seed = (project, day, workload, index)
    cost = number(*seed, "cost", low=1, high=2_500_000) * Decimal("0.000001")
    late = 3 if chance(*seed, "late", percent=10) else 1
    row = _export_row(
        project,
        start=_at(day, sku.hour),
        exported_at=_at(day + timedelta(days=late), 5, minute=index),
        cost=cost,
        sku=sku,
        workload=workload,
        discounts=_credits(seed, cost),
    )
    yield row
    if chance(*seed, "twice", percent=20):
        yield row  # a look-alike: two charges, not one reported twice


def _credits(seed: Sequence[object], cost: Decimal) -> list[Row]:
    billing_row = {
        "COMMITTED_USAGE_DISCOUNT": number(*seed, "committed", low=0, high=40),
        "FREE_TIER": number(*seed, "free", low=-30, high=20),
        "PROMOTION": number(*seed, "promotion", low=-30, high=20),
    }
    return [
        {
            "name": name.replace("_", " ").title(),
            "amount": -(cost * share / 100).quantize(Decimal("1e-6")),
            "full_name": "",
            "id": name.lower(),
            "type": name,
        }
        for name, share in billing_row.items()
        if share > 0
    ]


def _correction(project: str, day: date) -> Iterator[Row]:
    """Cancel the day's first charge three weeks later and charge it again, at half the price."""
    was = number(project, day, "prod", 0, "cost", low=1, high=2_500_000) * Decimal("0.000001")
    billing_row = {
        "id": f"adj-{number(project, day, low=1000, high=9999)}",
        "description": "Incorrect usage reported",
        "mode": "COMPLETE_NEGATION_WITH_REMONETIZATION",
        "type": "USAGE_CORRECTION",
    }
    for cost in (-was, (was / 2).quantize(Decimal("1e-6"))):
        yield _export_row(
            project,
            start=_at(day, _SKUS[0].hour),
            exported_at=_at(day + timedelta(days=21), 3),
            cost=cost,
            sku=_SKUS[0],
            workload="prod",
            adjustment_info=billing_row,
        )


def _invoice_lines(project: str, day: date) -> Iterator[Row]:
    lines = (
        ("tax", "TAX", number(project, day, "tax", low=100, high=900) * _CENT, "prod"),
        ("rounding_error", "ROUNDING", -_CENT, None),
        ("adjustment", "GOODWILL", -number(project, day, "sla", low=0, high=300) * _CENT, None),
    )
    for cost_type, name, cost, workload in lines:
        yield _export_row(
            project,
            start=_at(day, 7),
            exported_at=_at(day + timedelta(days=2), 5),
            cost=cost,
            sku=_Sku("Invoice", "0000-0000-0000", name.title(), name, "count", "count", 7),
            workload=workload,
            cost_type=cost_type,
            transaction_type=None,
        )


def _export_row(
    project: str,
    *,
    start: datetime,
    exported_at: datetime,
    cost: Decimal,
    sku: _Sku,
    workload: str | None,
    discounts: Sequence[Row] = (),
    **other: Any,  # columns by name
) -> Row:
    # The invoice's month is that of Pacific time, where a month begins eight hours later.
    billed_at = max(exported_at - timedelta(days=4), start) - timedelta(hours=8)
    row = {
        "billing_account_id": billing_account_id(project),
        "service": {"id": sku.service_id, "description": sku.service},
        "sku": {"id": sku.sku_id, "description": sku.sku},
        "usage_start_time": _format_time(start),
        "usage_end_time": _format_time(start + timedelta(hours=1)),
        "project": None if workload is None else _project(project, workload),
        "labels": [{"key": "env", "value": workload}] if workload else [],
        "system_labels": [],
        "location": {"location": "us-central1", "country": "US", "region": "us-central1"},
        "tags": [],
        "transaction_type": "GOOGLE",
        "seller_name": None,
        "export_time": _format_time(exported_at),
        "cost": cost,
        "currency": "USD",
        "currency_conversion_rate": 1,
        "usage": {
            "amount": (cost * 1000).quantize(Decimal("0.001")),
            "unit": sku.unit,
            "amount_in_pricing_units": cost,
            "pricing_unit": sku.pricing_unit,
        },
        "credits": list(discounts),
        "invoice": {"month": f"{billed_at:%Y%m}", "publisher_type": "GOOGLE"},
        "cost_type": "regular",
        "adjustment_info": None,
        "cost_at_list": cost,
        "resource": {"name": f"{workload}-1", "global_name": f"//sandbox/{workload}-1"},
        "subscription": None,
    }
    return row | other


def _project(project: str, workload: str) -> Row:
    name = f"{project}-{workload}"
    return {"id": name, "number": str(number(name, low=10**11, high=10**12)), "name": name}


def _has(kind: Kind, column: str) -> bool:
    return kind == "detailed" or column not in DETAILED_ONLY


def _at(day: date, hour: int, *, minute: int = 0) -> datetime:
    return datetime.combine(day, time(hour, minute), UTC)


def _format_time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat()
