"""Report of the demo, for a person and for a program."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any, NamedTuple

from stack.reconciliation_report import render_reconciliation


class Kind(NamedTuple):
    """Key of a sum of money: one provider, one basis, one currency."""

    provider: str
    basis: str
    currency: str


@dataclass(frozen=True)
class OrgReport:
    """One organization's runs and costs, as the API returned them."""

    slug: str
    runs: list[dict[str, Any]]
    costs: dict[str, Any]
    reconciliation: dict[str, Any] = field(default_factory=dict)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Cost per day, provider, service and model; `cost` is a decimal string or None."""
        rows: list[dict[str, Any]] = self.costs["rows"]
        return rows

    @property
    def by_kind(self) -> dict[Kind, list[dict[str, Any]]]:
        """Return the rows that may be added, together."""
        kinds: dict[Kind, list[dict[str, Any]]] = defaultdict(list)
        for row in self.rows:
            kinds[Kind(row["provider"], row["basis"], row["currency"])].append(row)
        return dict(sorted(kinds.items()))

    @property
    def totals(self) -> dict[Kind, Decimal]:
        """Sums, never across providers' bases or currencies."""
        return {kind: _sum(rows) for kind, rows in self.by_kind.items()}

    def as_json(self) -> dict[str, Any]:
        """Return the organization's part of the report."""
        return {
            "org_slug": self.slug,
            "totals": [
                {**kind._asdict(), "total": str(total)} for kind, total in self.totals.items()
            ],
            "rows": self.rows,
            "unpriced": self.costs.get("unpriced", []),
            "reconciliation": self.reconciliation,
            "runs": self.runs,
        }


@dataclass
class DemoReport:
    """Every organization's result over one range of days."""

    first_day: date
    last_day: date
    airflow_url: str
    orgs: list[OrgReport] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Return the report as JSON; money as strings."""
        return {
            "start_date": self.first_day.isoformat(),
            "end_date": self.last_day.isoformat(),
            "organizations": [org.as_json() for org in self.orgs],
        }


def render(report: DemoReport) -> str:
    """Return the report as text: for each organization a table per provider, and its runs."""
    lines = [f"\nDaily cost, {report.first_day} to {report.last_day} (UTC days)"]
    for org in report.orgs:
        for kind, rows in org.by_kind.items():
            lines += [
                f"\n{org.slug}   {kind.provider}, {kind.basis} cost in {kind.currency}",
                f"  {'day':<12}{'model or service':<44}{'cost':>18}",
                *(_line(row) for row in rows),
                f"  {'total':<56}{org.totals[kind]:>18}",
            ]
        lines += [
            f"  no price: {row['day']} {row['model']}: {row['reason']}"
            for row in org.costs.get("unpriced", [])
        ]
        lines += render_reconciliation(org.slug, org.reconciliation)
        lines += [
            f"  run {run['run_id']} {run['status']:<8} {run['pipeline']:<26}"
            f" {run.get('airflow_url') or ''}"
            for run in org.runs
        ]
    return "\n".join(lines)


def _line(row: dict[str, Any]) -> str:
    what = row["model"] or row["service"] or "-"
    return f"  {row['day']:<12}{what:<44}{row['cost'] or 'no price':>18}"


def _sum(rows: list[dict[str, Any]]) -> Decimal:
    return sum((Decimal(row["cost"]) for row in rows if row["cost"]), Decimal())
