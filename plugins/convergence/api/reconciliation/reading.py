"""Differences between bill and computed cost, read from the view `cost_reconciliation_daily`."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from convergence.api.http.csv_cells import format_cell
from convergence.api.http.services import ApiServices
from convergence.api.reconciliation.models import (
    ProposedRate,
    ReconciliationResponse,
    ReconciliationRow,
    ReconciliationTotal,
)
from convergence.errors import RequestError
from convergence.processors.costs.reconciliation_summary import compute_share
from convergence.warehouse.query import Row, run_file

MAX_ROWS = 20_000
_MEASURES = (
    *("computed_cost", "billed_cost", "difference", "explained_amount", "unexplained_amount"),
)


class Grouping(StrEnum):
    """Groupings of differences."""

    STREAM = "stream"
    SKU = "sku"
    REASON = "reason"


@dataclass(frozen=True)
class ReconciliationQuery:
    """The requested comparison; the range of days includes both ends."""

    org_slug: str
    start: date
    end: date
    group_by: tuple[Grouping, ...]


def read_reconciliation(
    query: ReconciliationQuery, *, services: ApiServices
) -> ReconciliationResponse:
    """Return the differences of a range of days and their sums by currency, with one query job.

    Raises:
        RequestError: the response would have too many rows.
    """
    warehouse = services.warehouse
    rows = run_file(
        warehouse,
        warehouse.sql("costs/reconciliation_rows.sql"),
        identifiers={"dataset": services.settings.org_dataset(query.org_slug)},
        params={
            "start_date": query.start,
            "end_date": query.end,
            **{f"by_{each}": each in query.group_by for each in Grouping},
        },
    )
    if len(rows) > MAX_ROWS:
        raise RequestError(
            f"The result has more than {MAX_ROWS} rows; request fewer days or fewer groupings."
        )
    return ReconciliationResponse(
        org_slug=query.org_slug,
        start_date=query.start,
        end_date=query.end,
        group_by=[each.value for each in query.group_by],
        rows=[_build_group(row, query.group_by) for row in _select(rows, "row")],
        totals=[_build_total(row) for row in _select(rows, "total")],
        proposed_rates=[
            ProposedRate(stream=row["stream"], sku=row["sku"], ratio=row["ratio"])
            for row in _select(rows, "rate")
        ],
    )


def format_csv(found: ReconciliationResponse) -> str:
    """Return the rows as CSV with a header."""
    out = io.StringIO()
    names = [*found.group_by, "currency", *_MEASURES]
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(names)
    for row in found.rows:
        values = row.model_dump(mode="json")
        writer.writerow([format_cell(values[name]) for name in names])
    return out.getvalue()


def _select(rows: Iterable[Row], kind: str) -> list[Row]:
    return [row for row in rows if row["kind"] == kind]


def _build_group(row: Row, group_by: Sequence[Grouping]) -> ReconciliationRow:
    """Return a row with the requested groupings only."""
    known = (*(each.value for each in group_by), "currency", *_MEASURES)
    return ReconciliationRow(**{name: row[name] for name in known})


def _build_total(row: Row) -> ReconciliationTotal:
    return ReconciliationTotal(
        currency=row["currency"],
        **{name: row[name] for name in _MEASURES},
        explained_share=compute_share(row["explained_amount"], row["unexplained_amount"]),
        days_compared=row["days_compared"],
        days_not_comparable=row["days_not_comparable"],
    )
