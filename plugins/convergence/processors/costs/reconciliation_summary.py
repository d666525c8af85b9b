"""Sums of compared days by reason, as a run's detail shows them, and the warning they cause."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from decimal import ROUND_DOWN, Decimal
from typing import Any

from convergence.processors.context import OrgContext
from convergence.providers.cost_streams import Stream
from convergence.warehouse.query import Row, run_file


def read_summary(
    org: OrgContext, stream: Stream, days: Sequence[date], *, sql_file: str
) -> list[dict[str, Any]]:
    """Read the sums of some days of a stream by currency, with one query; none without days."""
    if not days:
        return []
    rows = run_file(
        org.warehouse,
        org.settings.configs_dir / sql_file,
        identifiers={
            "dataset": org.dataset,
            "reconciliation_table": stream.reconciliation_table,
        },
        params={"days": list(days)},
    )
    return build_summary(rows)


def build_summary(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Return for each currency its sums, its reasons and the explained share; amounts are text.

    The share counts absolute amounts: differences of opposite sign do not cancel. It is 1 where
    nothing differs.
    """
    found: dict[str, dict[str, Any]] = {}
    absolute: dict[str, dict[bool, Decimal]] = {}
    for row in rows:
        currency = row["currency"]
        if currency not in found:
            found[currency] = {
                "currency": currency,
                "computed": _format_amount(row["computed"]),
                "billed": _format_amount(row["billed"]),
                "difference": _format_amount(row["billed"] - row["computed"]),
                "days_compared": row["days_compared"],
                "days_not_comparable": row["days_not_comparable"],
                "reasons": [],
            }
            absolute[currency] = {True: Decimal(0), False: Decimal(0)}
        if row["reason"] is not None:
            absolute[currency][row["is_explained"]] += row["absolute_amount"]
            found[currency]["reasons"].append(
                {
                    "reason": row["reason"],
                    "amount": _format_amount(row["amount"]),
                    "is_explained": row["is_explained"],
                }
            )
    return [
        {
            **one,
            "explained_share": str(
                compute_share(absolute[currency][True], absolute[currency][False])
            ),
        }
        for currency, one in sorted(found.items())
    ]


def compute_share(explained: Decimal, unexplained: Decimal) -> Decimal:
    """Return the explained part of absolute amounts to six decimals; 1 without any amount.

    It is rounded down: 1 says that nothing is left unexplained.
    """
    total = explained + unexplained
    if not total:
        return Decimal(1)
    return (explained / total).quantize(Decimal("0.000001"), rounding=ROUND_DOWN)


def warn_of_share(
    org: OrgContext,
    stream: Stream,
    summary: Iterable[dict[str, Any]],
    *,
    min_share: Decimal,
) -> None:
    """Log a warning for each currency whose explained share is below the threshold."""
    for one in summary:
        one["is_below_threshold"] = Decimal(one["explained_share"]) < min_share
        if one["is_below_threshold"]:
            org.log.warning(
                "%s: %s of the differences in %s are explained, less than %s",
                stream.id,
                one["explained_share"],
                one["currency"],
                min_share,
            )


def _format_amount(amount: Decimal) -> str:
    return format(amount, "f")
