"""A result of OpenAI's organization usage → a row of the raw table, nothing lost, nothing guessed.

A result arrives with its bucket's `start_time` and `end_time` (Unix seconds) beside its own
fields; source: https://platform.openai.com/docs/api-reference/usage. The raw table's schema says
which fields are documented; every other field is kept in `extra`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from convergence.errors import ProviderProtocolError

LEGACY_SHAPE = 1
"""2024 to 2025: cached audio inside the audio count, no uncached and no cache-write count."""
SPLIT_SHAPE = 2
"""From 2026: input = uncached + cached + written."""

ONE_DAY = timedelta(days=1)
OWN_COLUMNS = ("usage_date", "endpoint", "bucket_start", "bucket_end", "shape_version", "extra")
"""Columns that no field of a result fills."""
BUCKET_FIELDS = ("start_time", "end_time")


class UsageShape:
    """Turns results of one usage endpoint into rows.

    Args:
        endpoint: last part of the endpoint's path, such as `completions`.
        columns: column → BigQuery type of the raw table.
    """

    def __init__(self, endpoint: str, *, columns: Mapping[str, str]) -> None:
        self._endpoint = endpoint
        self._readers = {
            name: _READERS[kind] for name, kind in columns.items() if name not in OWN_COLUMNS
        }

    def row(self, result: Mapping[str, Any]) -> dict[str, Any]:
        """A result as a row of the raw table.

        Raises:
            ProviderProtocolError: it breaks the documented shape; facts name the field.
        """
        fields = {name: value for name, value in result.items() if name not in BUCKET_FIELDS}
        start, end = self._span(result)
        row: dict[str, Any] = {
            "usage_date": start.date().isoformat(),
            "endpoint": self._endpoint,
            "bucket_start": start.isoformat(),
            "bucket_end": end.isoformat(),
            "shape_version": shape_version(fields),
        }
        for name, reader in self._readers.items():
            row[name] = self._read(reader, fields.get(name), name)
        unknown = {name: fields[name] for name in sorted(fields) if name not in self._readers}
        row["extra"] = unknown or None
        return row

    def _span(self, result: Mapping[str, Any]) -> tuple[datetime, datetime]:
        start, end = (self._instant(result, name) for name in BUCKET_FIELDS)
        if end - start != ONE_DAY or start.timestamp() % ONE_DAY.total_seconds():
            raise ProviderProtocolError(
                "A usage bucket is not one whole UTC day",
                endpoint=self._endpoint,
                start_time=start.isoformat(),
                end_time=end.isoformat(),
            )
        return start, end

    def _instant(self, result: Mapping[str, Any], name: str) -> datetime:
        seconds = self._read(_whole, result.get(name), name)
        try:
            return datetime.fromtimestamp(seconds, UTC)
        except (OSError, OverflowError, ValueError, TypeError) as error:
            raise ProviderProtocolError(
                "A usage bucket has no time", endpoint=self._endpoint, field=name
            ) from error

    def _read(self, reader: Callable[[Any], Any], value: object, name: str) -> Any:  # noqa: ANN401  # a row's values differ
        if value is None:
            return None
        try:
            return reader(value)
        except TypeError as error:
            raise ProviderProtocolError(
                f"{name} has another type than documented: {error}",
                endpoint=self._endpoint,
                field=name,
            ) from None


def shape_version(result: Mapping[str, Any]) -> int:
    """Which of the two documented shapes a result has."""
    return LEGACY_SHAPE if result.get("input_uncached_tokens") is None else SPLIT_SHAPE


def usage_day(row: Mapping[str, Any]) -> date:
    """The UTC day that a row belongs to."""
    return date.fromisoformat(row["usage_date"])


def _whole(value: object) -> int:
    """Counts are whole; a decimal point is accepted where nothing follows it."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, Decimal) and value == value.to_integral_value():
        return int(value)
    raise TypeError(f"a whole number was expected, not {type(value).__name__}")


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    raise TypeError(f"a string was expected, not {type(value).__name__}")


def _flag(value: object) -> bool:
    if isinstance(value, bool):
        return value
    raise TypeError(f"true or false was expected, not {type(value).__name__}")


_READERS: Mapping[str, Callable[[Any], Any]] = {"INT64": _whole, "STRING": _text, "BOOL": _flag}
