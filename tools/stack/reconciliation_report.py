"""The demo's comparison of what is billed with what is computed, for a person."""

from __future__ import annotations

from decimal import Decimal
from typing import Any


def render_reconciliation(slug: str, found: dict[str, Any]) -> list[str]:
    """Return the lines of one organization's comparison.

    Args:
        slug: the organization.
        found: the response of `GET /reconciliation/{org}`, grouped by stream and reason.
    """
    lines: list[str] = []
    for total in found.get("totals", []):
        currency = total["currency"]
        share = Decimal(total["explained_share"]) * 100
        lines += [
            f"\n{slug}   bill and computed cost in {currency}, {total['days_compared']} days",
            f"  {'computed':<56}{total['computed_cost']:>18}",
            f"  {'billed':<56}{total['billed_cost']:>18}",
            f"  {'difference':<56}{total['difference']:>18}",
            *(_render_reason(row) for row in found["rows"] if row["currency"] == currency),
            f"  {'explained':<56}{share.normalize():>17f}%",
        ]
    return lines


def _render_reason(row: dict[str, Any]) -> str:
    mark = "" if Decimal(row["unexplained_amount"]) == 0 else "  not explained"
    return f"    {row['stream']:<18}{row['reason']:<36}{row['difference']:>18}{mark}"
