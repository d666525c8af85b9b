"""Compare computed with billed cost in a step's result: the differences and their reasons."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

from convergence.processors.context import OrgContext, StepResult
from convergence.runs.slices import Finality, compute_finality
from convergence.warehouse.params import typed
from convergence.warehouse.query import Row, run_file

MAX_DAYS = 50
"""Days with a difference in a step's result, the newest."""


def add_reconciliation(org: OrgContext, result: StepResult) -> StepResult:
    """Return a step's result with the reconciliation of its days, where both bases are known.

    One step publishes the computed cost and another the billed one; the last to end sees both.
    """
    if result.status != "SUCCESS" or org.pipeline.provider is None:
        return result
    report = build_report(_read_rows(org, org.pipeline.provider, org.days))
    return (
        replace(result, details={**result.details, "reconciliation": report}) if report else result
    )


def build_report(rows: Iterable[Row]) -> dict[str, Any]:
    """Return the report of the query's rows: sums by currency, and each day that differs.

    Amounts are text; `gap` is billed - computed, and the amounts of a day's reasons add up to it.
    """
    days: dict[tuple[date, str], dict[str, Any]] = {}
    reasons: dict[tuple[date, str], dict[str, str]] = {}
    for row in rows:
        key = (row["day"], row["currency"])
        days[key] = {"computed": row["computed"], "billed": row["billed"]}
        if row["reason"] is not None:
            reasons.setdefault(key, {})[row["reason"]] = _format_amount(row["amount"])
    if not days:
        return {}
    differing = [
        {
            "day": day.isoformat(),
            "currency": currency,
            **_format_sums([days[day, currency]]),
            "reasons": day_reasons,
        }
        for (day, currency), day_reasons in sorted(reasons.items(), reverse=True)
    ]
    currencies = sorted({currency for _, currency in days})
    return {
        "totals": [
            {"currency": one, **_format_sums(sums for (_, of), sums in days.items() if of == one)}
            for one in currencies
        ],
        "days_compared": len({day for day, _ in days}),
        "days_differing": len({day for day, _ in reasons}),
        "days": differing[:MAX_DAYS],
    }


def _list_final_days(org: OrgContext, days: Iterable[date]) -> list[date]:
    settle_days, now = org.pipeline.settle_days, org.now()
    return [
        day for day in sorted(days) if compute_finality(day, now, settle_days) is Finality.FINAL
    ]


def _read_rows(org: OrgContext, provider: str, days: Sequence[date]) -> list[Row]:
    return run_file(
        org.warehouse,
        org.warehouse.sql("costs/reconcile.sql"),
        identifiers={"dataset": org.dataset},
        params={
            "provider": provider,
            "days": sorted(days),
            "final_days": typed(_list_final_days(org, days), "DATE"),
        },
    )


def _format_sums(parts: Iterable[dict[str, Decimal]]) -> dict[str, str]:
    computed = billed = Decimal(0)
    for part in parts:
        computed, billed = computed + part["computed"], billed + part["billed"]
    return {
        "computed": _format_amount(computed),
        "billed": _format_amount(billed),
        "gap": _format_amount(billed - computed),
    }


def _format_amount(amount: Decimal) -> str:
    return format(amount, "f")
