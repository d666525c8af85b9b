"""Cost as CSV."""

from __future__ import annotations

import csv
import io
from typing import Any

from convergence.api.http.csv_cells import format_cell

_COLUMNS = (
    "cost",
    "list_cost",
    "billed_cost",
    "currency",
    "basis",
    "effective_cost",
    "expected_cost",
)


def format_csv(costs: dict[str, Any]) -> str:
    """Return the rows of a page as CSV with a header."""
    out = io.StringIO()
    names = [*costs["group_by"], *_COLUMNS]
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow([format_cell(name) for name in names])
    for row in costs["rows"]:
        writer.writerow([format_cell(row[name]) for name in names])
    return out.getvalue()
