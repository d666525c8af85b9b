"""What an organization's usage cost, from its one face of cost, `cost_daily`."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Any, Literal

from convergence.api.costs.models import CostAnswer, CostRow, CostTotal, Unpriced
from convergence.api.http.services import Services
from convergence.errors import RequestError
from convergence.providers.registry import load_registry
from convergence.warehouse.query import Row, run_file

MAX_ROWS = 20_000
_MEASURES = ("cost", "list_cost", "billed_cost")


class Grouping(StrEnum):
    """What cost may be told by."""

    DAY = "day"
    PROVIDER = "provider"
    SERVICE = "service"
    MODEL = "model"
    PROJECT = "project"


@dataclass(frozen=True)
class CostQuestion:
    """Which cost is asked for; the range includes both ends."""

    org_slug: str
    start: date
    end: date
    group_by: tuple[Grouping, ...]
    basis: Literal["computed", "billed"] | None = None
    currency: str | None = None


def costs(question: CostQuestion, *, services: Services) -> CostAnswer:
    """Read cost, grouped; each row and each total is of one basis and one currency.

    Where no basis is asked for, each provider's default one is told.

    Raises:
        RequestError: more rows than one answer holds.
    """
    bases = [f"{one.id} {one.cost_sources.default}" for one in load_registry(services.settings)]
    rows = _run(
        services,
        "cost_rows",
        question,
        **{f"by_{each}": each in question.group_by for each in Grouping},
        basis=question.basis or "",
        currency=question.currency or "",
        default_bases=bases,
    )
    if len(rows) > MAX_ROWS:
        raise RequestError(f"More than {MAX_ROWS} rows; ask for fewer days or a coarser grouping.")
    totals = _totals(rows)
    only = totals[0] if len(totals) == 1 else None
    return CostAnswer(
        org_slug=question.org_slug,
        start_date=question.start,
        end_date=question.end,
        group_by=[each.value for each in question.group_by],
        basis=only.basis if only else question.basis,
        currency=only.currency if only else question.currency,
        rows=[_row(row, question.group_by) for row in rows],
        totals=totals,
        unpriced=[Unpriced(**row) for row in _run(services, "unpriced", question)],
    )


def as_csv(answer: CostAnswer) -> str:
    """The rows as CSV, a header first."""
    out = io.StringIO()
    names = [*answer.group_by, *_MEASURES, "currency", "basis"]
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(names)
    for row in answer.rows:
        told = row.model_dump(mode="json")
        writer.writerow([_cell(told[name]) for name in names])
    return out.getvalue()


def _run(services: Services, name: str, question: CostQuestion, **params: Any) -> list[Row]:
    warehouse = services.warehouse
    return run_file(
        warehouse,
        warehouse.sql(f"costs/{name}.sql"),
        identifiers={
            "project": warehouse.project,
            "dataset": services.settings.org_dataset(question.org_slug),
        },
        params={"start_date": question.start, "end_date": question.end, **params},
    )


def _row(row: Row, group_by: Sequence[Grouping]) -> CostRow:
    """A row with the groupings that were asked for, and no others."""
    known = (*group_by, *_MEASURES, "basis", "currency")
    return CostRow(**{name: row[name] for name in known})


def _totals(rows: Sequence[Row]) -> list[CostTotal]:
    sums: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for row in rows:
        sums[row["basis"], row["currency"]] += row["cost"] or Decimal()
    return [
        CostTotal(basis=basis, currency=currency, cost=cost)
        for (basis, currency), cost in sorted(sums.items())
    ]


def _cell(value: object) -> str:
    """A cell that no spreadsheet takes for a formula."""
    text = "" if value is None else str(value)
    harmless = not text.startswith(("=", "+", "-", "@", "\t", "\r")) or _is_number(text)
    return text if harmless else f"'{text}"


def _is_number(text: str) -> bool:
    return text.lstrip("-").replace(".", "", 1).isdigit()
