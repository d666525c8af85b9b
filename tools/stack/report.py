"""Report of the demo, for a person and for a program."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any, NamedTuple

from stack.reconciliation_report import render_reconciliation


class Kind(NamedTuple):
    """Key of a sum of money: one provider, one currency."""

    provider: str
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
        """Cost per day, provider, service and model; amounts are decimal strings or None."""
        rows: list[dict[str, Any]] = self.costs["rows"]
        return rows

    @property
    def by_kind(self) -> dict[Kind, list[dict[str, Any]]]:
        """Return the rows that may be added, together."""
        kinds: dict[Kind, list[dict[str, Any]]] = defaultdict(list)
        for row in self.rows:
            kinds[Kind(row["provider"], row["currency"])].append(row)
        return dict(sorted(kinds.items()))

    @property
    def totals(self) -> list[dict[str, Any]]:
        """The total of each currency: what is billed and expected to be billed."""
        totals: list[dict[str, Any]] = self.costs["totals"]
        return totals

    @property
    def coverage(self) -> dict[str, Counter[str]]:
        """Return how many days of each stream show what: billed, computed, none and so on."""
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        for day in self.costs["coverage"]:
            state = "not_connected" if day["bill"] == "not_connected" else day["shown"]
            counts[day["stream"]][state] += 1
        return dict(sorted(counts.items()))

    def as_json(self) -> dict[str, Any]:
        """Return the organization's part of the report."""
        return {
            "org_slug": self.slug,
            "totals": self.totals,
            "coverage": self.costs["coverage"],
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
    """Return the report as text: for each organization its cost by provider, total and runs."""
    lines = [f"\nDaily cost, {report.first_day} to {report.last_day} (UTC days)"]
    for org in report.orgs:
        for kind, rows in org.by_kind.items():
            lines += [
                f"\n{org.slug}   {kind.provider}, in {kind.currency}",
                f"  {'day':<12}{'model or service':<44}{'billed':>18}  basis",
                *(_line(row) for row in rows),
                f"  {'sum':<56}{_sum(rows):>18}",
            ]
        lines += ["", *_render_totals(org)]
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


def _render_totals(org: OrgReport) -> Iterator[str]:
    """Yield the total of each currency with its expected part, and the coverage of each stream."""
    for total in org.totals:
        label = f"{org.slug}   total in {total['currency']}"
        yield f"{label:<58}{Decimal(total['billed_cost']):>18}"
        yield f"{'  of it expected, not billed yet':<58}{Decimal(total['expected_cost']):>18}"
    for stream, counts in org.coverage.items():
        days = ", ".join(f"{number} {state}" for state, number in sorted(counts.items()))
        yield f"  coverage of {stream}: {days} of {counts.total()} days"


def _line(row: dict[str, Any]) -> str:
    what = row["model"] or row["service"] or "-"
    return f"  {row['day']:<12}{what:<44}{row['billed_cost'] or 'no price':>18}  {row['basis']}"


def _sum(rows: list[dict[str, Any]]) -> Decimal:
    return sum((Decimal(row["billed_cost"]) for row in rows if row["billed_cost"]), Decimal())
