"""Cost as CSV."""

from __future__ import annotations

import csv
import io
from typing import Any

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
    writer.writerow([_format_cell(name) for name in names])
    for row in costs["rows"]:
        writer.writerow([_format_cell(row[name]) for name in names])
    return out.getvalue()


def _format_cell(value: object) -> str:
    """Return the text of a cell; a quote keeps spreadsheets from running it as a formula."""
    text = "" if value is None else str(value)
    harmless = not text.startswith(("=", "+", "-", "@", "\t", "\r")) or _is_number(text)
    return text if harmless else f"'{text}"


def _is_number(text: str) -> bool:
    return text.lstrip("-").replace(".", "", 1).isdigit()
