"""Computed against billed cost, in a step's report: what differs, and why."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

from convergence.processors.context import OrgContext, StepResult
from convergence.warehouse.query import Row, run_file

MOST_DAYS = 50
"""Days with a difference in a step's answer, the newest."""


def reconciled(org: OrgContext, result: StepResult) -> StepResult:
    """A step's result with the reconciliation of its days, where both bases are known.

    Of the two steps that tell the two bases, the one that ends last sees both.
    """
    if result.status != "SUCCESS" or org.pipeline.provider is None:
        return result
    told = reconciliation(_rows(org, org.pipeline.provider, org.days))
    return replace(result, details={**result.details, "reconciliation": told}) if told else result


def reconciliation(rows: Iterable[Row]) -> dict[str, Any]:
    """The report from the query's rows: sums by currency, and each day that differs.

    Amounts are text; `gap` is billed - computed, and a day's reasons add up to it.
    """
    days: dict[tuple[date, str], dict[str, Any]] = {}
    reasons: dict[tuple[date, str], dict[str, str]] = {}
    for row in rows:
        key = (row["day"], row["currency"])
        days[key] = {"computed": row["computed"], "billed": row["billed"]}
        if row["reason"] is not None:
            reasons.setdefault(key, {})[row["reason"]] = _text(row["amount"])
    if not days:
        return {}
    differing = [
        {
            "day": day.isoformat(),
            "currency": currency,
            **_sums([days[day, currency]]),
            "reasons": why,
        }
        for (day, currency), why in sorted(reasons.items(), reverse=True)
    ]
    currencies = sorted({currency for _, currency in days})
    return {
        "totals": [
            {"currency": one, **_sums(sums for (_, of), sums in days.items() if of == one)}
            for one in currencies
        ],
        "days_compared": len({day for day, _ in days}),
        "days_differing": len({day for day, _ in reasons}),
        "days": differing[:MOST_DAYS],
    }


def _rows(org: OrgContext, provider: str, days: Iterable[date]) -> list[Row]:
    return run_file(
        org.warehouse,
        org.warehouse.sql("costs/reconcile.sql"),
        identifiers={"dataset": org.dataset},
        params={"provider": provider, "days": sorted(days)},
    )


def _sums(parts: Iterable[dict[str, Decimal]]) -> dict[str, str]:
    computed = billed = Decimal(0)
    for part in parts:
        computed, billed = computed + part["computed"], billed + part["billed"]
    return {"computed": _text(computed), "billed": _text(billed), "gap": _text(billed - computed)}


def _text(amount: Decimal) -> str:
    return format(amount, "f")
