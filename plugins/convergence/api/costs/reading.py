"""Cost of an organization's usage, read from its view `cost_daily`."""

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

from convergence.api.costs.models import CostResponse, CostRow, CostTotal, UnpricedUsage
from convergence.api.http.services import ApiServices
from convergence.errors import RequestError
from convergence.warehouse.query import Row, run_file

MAX_ROWS = 20_000
_MEASURES = ("cost", "list_cost", "billed_cost")


class Grouping(StrEnum):
    """Groupings of cost."""

    DAY = "day"
    PROVIDER = "provider"
    SERVICE = "service"
    MODEL = "model"
    PROJECT = "project"


@dataclass(frozen=True)
class CostQuery:
    """The requested cost; the range of days includes both ends."""

    org_slug: str
    start: date
    end: date
    group_by: tuple[Grouping, ...]
    basis: Literal["computed", "billed"] | None = None
    currency: str | None = None


def read_costs(query: CostQuery, *, services: ApiServices) -> CostResponse:
    """Return grouped cost; each row and each total has one basis and one currency.

    Without a requested basis, the authoritative rows are returned: billed once the bill covers a
    day, computed until then.

    Raises:
        RequestError: the response would have too many rows.
    """
    rows = _run_query(
        services,
        "cost_rows",
        query,
        **{f"by_{each}": each in query.group_by for each in Grouping},
        basis=query.basis or "",
        currency=query.currency or "",
    )
    if len(rows) > MAX_ROWS:
        raise RequestError(
            f"The result has more than {MAX_ROWS} rows; request fewer days or fewer groupings."
        )
    totals = _sum_rows(rows)
    only = totals[0] if len(totals) == 1 else None
    return CostResponse(
        org_slug=query.org_slug,
        start_date=query.start,
        end_date=query.end,
        group_by=[each.value for each in query.group_by],
        basis=only.basis if only else query.basis,
        currency=only.currency if only else query.currency,
        rows=[_build_row(row, query.group_by) for row in rows],
        totals=totals,
        unpriced=[UnpricedUsage(**row) for row in _run_query(services, "unpriced", query)],
    )


def format_csv(costs: CostResponse) -> str:
    """Return the rows as CSV with a header."""
    out = io.StringIO()
    names = [*costs.group_by, *_MEASURES, "currency", "basis"]
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(names)
    for row in costs.rows:
        values = row.model_dump(mode="json")
        writer.writerow([_format_cell(values[name]) for name in names])
    return out.getvalue()


def _run_query(services: ApiServices, name: str, query: CostQuery, **params: Any) -> list[Row]:
    warehouse = services.warehouse
    return run_file(
        warehouse,
        warehouse.sql(f"costs/{name}.sql"),
        identifiers={
            "project": warehouse.project,
            "dataset": services.settings.org_dataset(query.org_slug),
            "costs": "cost_daily_by_basis" if query.basis else "cost_daily",
        },
        params={"start_date": query.start, "end_date": query.end, **params},
    )


def _build_row(row: Row, group_by: Sequence[Grouping]) -> CostRow:
    """Return a row with the requested groupings only."""
    known = (*group_by, *_MEASURES, "basis", "currency")
    return CostRow(**{name: row[name] for name in known})


def _sum_rows(rows: Sequence[Row]) -> list[CostTotal]:
    sums: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for row in rows:
        sums[row["basis"], row["currency"]] += row["cost"] or Decimal()
    return [
        CostTotal(basis=basis, currency=currency, cost=cost)
        for (basis, currency), cost in sorted(sums.items())
    ]


def _format_cell(value: object) -> str:
    """Return the text of a cell; a quote keeps spreadsheets from running it as a formula."""
    text = "" if value is None else str(value)
    harmless = not text.startswith(("=", "+", "-", "@", "\t", "\r")) or _is_number(text)
    return text if harmless else f"'{text}"


def _is_number(text: str) -> bool:
    return text.lstrip("-").replace(".", "", 1).isdigit()
