"""What the demo found, for a person and for a program."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any


@dataclass(frozen=True)
class OrgReport:
    """One organization's run and costs, as the API answered them."""

    slug: str
    run: dict[str, Any]
    costs: dict[str, Any]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Cost per day and model: `day`, `model`, `cost` (a decimal string)."""
        rows: list[dict[str, Any]] = self.costs["rows"]
        return rows

    @property
    def total(self) -> Decimal:
        """Sum over the rows, in the answer's one currency and basis."""
        return sum((Decimal(row["cost"]) for row in self.rows if row["cost"]), Decimal())


@dataclass
class DemoReport:
    """Every organization's result over one range of days."""

    first_day: date
    last_day: date
    airflow_url: str
    orgs: list[OrgReport] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """The report as JSON; money as strings."""
        return {
            "start_date": self.first_day.isoformat(),
            "end_date": self.last_day.isoformat(),
            "organizations": [
                {
                    "org_slug": org.slug,
                    "currency": org.costs["currency"],
                    "basis": org.costs["basis"],
                    "total": str(org.total),
                    "rows": org.rows,
                    "unpriced": org.costs.get("unpriced", []),
                    "run": org.run,
                }
                for org in self.orgs
            ],
        }


def render(report: DemoReport) -> str:
    """The report as text, one table per organization."""
    lines = [f"\nDaily cost, {report.first_day} to {report.last_day} (UTC days)"]
    for org in report.orgs:
        currency = org.costs["currency"]
        lines += [
            f"\n{org.slug}   {org.costs['basis']} cost in {currency}",
            f"  {'day':<12}{'model':<32}{'cost':>18}",
        ]
        lines += [
            f"  {row['day']:<12}{row['model'] or '-':<32}{row['cost'] or 'no price':>18}"
            for row in org.rows
        ]
        lines += [f"  {'total':<44}{org.total:>18}"]
        lines += [
            f"  no price: {row['day']} {row['model']}: {row['reason']}"
            for row in org.costs.get("unpriced", [])
        ]
        run = org.run
        lines += [f"  run {run['run_id']} {run['status']}", f"  {run.get('airflow_url') or ''}"]
    return "\n".join(lines)
