"""DuckDB's errors as BigQuery's."""

from __future__ import annotations

import re

import duckdb

from sandbox.bigquery.errors import BigQueryError, invalid_query

_PYTHON_ERROR = re.compile(r"(?:ValueError|decimal\.\w+): (?P<message>[^\n]+)")
_PREFIX = re.compile(r"^(?:[A-Z][\w ]* Error): ")


def is_decimal_overflow(error: duckdb.Error) -> bool:
    """Whether exact mode would compute what overflowed DuckDB's 38 digits."""
    text = str(error)
    return isinstance(error, duckdb.OutOfRangeException | duckdb.ConversionException) and (
        "DECIMAL" in text or "INT128" in text or "HUGEINT" in text
    )


def translated(error: duckdb.Error) -> BigQueryError:
    """The BigQuery error that says the same; always 400, as a failed statement is."""
    text = str(error)
    raised = _PYTHON_ERROR.search(text)
    if raised is not None:
        return invalid_query(raised["message"])
    first = _PREFIX.sub("", text.split("\n", maxsplit=1)[0])
    if isinstance(error, duckdb.OutOfRangeException | duckdb.ConversionException):
        return invalid_query(_overflow(first))
    if "Division by zero" in first:
        return invalid_query("division by zero")
    if "More than one row returned by a subquery" in first:
        return invalid_query("Scalar subquery produced more than one element")
    if "cannot affect the same target row more than once" in first:
        return invalid_query("UPDATE/MERGE must match at most one source row for each target row")
    if "Unknown TimeZone" in first:
        return invalid_query(first.split("\n")[0].replace("Unknown TimeZone", "Invalid time zone"))
    if isinstance(error, duckdb.OutOfMemoryException):
        return BigQueryError(
            "Resources exceeded during query execution: the local stand-in's memory limit",
            status=400,
            reason="resourcesExceeded",
        )
    return invalid_query(first)


def _overflow(text: str) -> str:
    if "INT64" in text:
        found = re.search(r"\((-?\d+ \S+ -?\d+)\)", text)
        return f"int64 overflow: {found[1]}" if found else "int64 overflow"
    if "DECIMAL" in text:
        return f"numeric overflow: {text}"
    return text
