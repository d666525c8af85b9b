"""DuckDB's errors as BigQuery's."""

from __future__ import annotations

import re

import duckdb

from convergence_sandbox.bigquery.errors import BigQueryError, invalid_query

_PYTHON_ERROR = re.compile(r"(?:ValueError|decimal\.\w+): (?P<message>[^\n]+)")
_PREFIX = re.compile(r"^(?:[A-Z][\w ]* Error): ")


def is_decimal_overflow(error: duckdb.Error) -> bool:
    """Return whether exact mode would compute what overflowed DuckDB's 38 digits."""
    text = str(error)
    return isinstance(error, duckdb.OutOfRangeException | duckdb.ConversionException) and (
        "DECIMAL" in text or "INT128" in text or "HUGEINT" in text
    )


_WORDINGS = (
    ("Division by zero", "division by zero"),
    ("More than one row returned by a subquery", "Scalar subquery produced more than one element"),
    (
        "cannot affect the same target row more than once",
        "UPDATE/MERGE must match at most one source row for each target row",
    ),
)


def translated(error: duckdb.Error) -> BigQueryError:
    """Return the BigQuery error that says the same; always 400, as a failed statement is."""
    if isinstance(error, duckdb.OutOfMemoryException):
        message = "Resources exceeded during query execution: the local stand-in's memory limit"
        return BigQueryError(message, status=400, reason="resourcesExceeded")
    return invalid_query(_message(error))


def _message(error: duckdb.Error) -> str:
    text = str(error)
    raised = _PYTHON_ERROR.search(text)
    if raised is not None:
        return raised["message"]
    first = _PREFIX.sub("", text.split("\n", maxsplit=1)[0])
    if isinstance(error, duckdb.OutOfRangeException | duckdb.ConversionException):
        return _overflow(first)
    wording = next((ours for theirs, ours in _WORDINGS if theirs in first), first)
    return wording.replace("Unknown TimeZone", "Invalid time zone")


def _overflow(text: str) -> str:
    if "INT64" in text:
        found = re.search(r"\((-?\d+ \S+ -?\d+)\)", text)
        return f"int64 overflow: {found[1]}" if found else "int64 overflow"
    if "DECIMAL" in text:
        return f"numeric overflow: {text}"
    return text
