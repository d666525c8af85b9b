"""A provider's JSON fields → the columns of a raw table, nothing lost, nothing guessed.

The table's schema says which fields are documented and of which type; a field without a column is
kept in `extra`, one of another type is an error that names it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Context, Decimal, InvalidOperation
from typing import Any

from convergence.errors import ProviderProtocolError, ShapeChangedError

ONE_DAY = timedelta(days=1)
DAY_COLUMN = "usage_date"
BUCKET_COLUMNS = (DAY_COLUMN, "bucket_start", "bucket_end")
NUMERIC_STEP = Decimal("1e-9")
"""Scale of BigQuery's NUMERIC."""
WHOLE_DIGITS = 29
"""Digits before NUMERIC's point."""
INT64 = range(-(2**63), 2**63)
"""The whole numbers that a column can hold."""
# The default context refuses what has more than 28 digits.
_WIDE = Context(prec=76)


class FieldReader:
    """Reads one kind of row.

    Args:
        columns: column → BigQuery type of the table.
        filled_by_caller: columns that the caller fills itself.
        source: whose rows these are; a fact of every error.
        unknown: counts how often each field without a column was seen.
        signed_counts: accept whole numbers below zero; usage has none, bills may have some.
    """

    def __init__(
        self,
        columns: Mapping[str, str],
        *,
        filled_by_caller: Collection[str],
        source: str,
        unknown: Counter[str] | None = None,
        signed_counts: bool = True,
    ) -> None:
        self._source = source
        self._unknown = unknown if unknown is not None else Counter()
        readers = _READERS if signed_counts else {**_READERS, "INT64": count}
        self._readers = {
            name: readers[kind]
            for name, kind in columns.items()
            if name not in filled_by_caller and name not in {*BUCKET_COLUMNS, "extra"}
        }

    def row(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Return every column that is read, and `extra`.

        Raises:
            ShapeChangedError: a field has another type than documented.
        """
        row = {name: self.read(read, fields, name) for name, read in self._readers.items()}
        unknown = {name: fields[name] for name in sorted(fields) if name not in self._readers}
        self._unknown.update(unknown.keys())
        return {**row, "extra": unknown or None}

    def bucket(self, start: datetime, end: datetime) -> dict[str, Any]:
        """Return the columns with the day of a bucket.

        Raises:
            ProviderProtocolError: not one whole UTC day.
        """
        start, end = start.astimezone(UTC), end.astimezone(UTC)
        if end - start != ONE_DAY or start.timestamp() % ONE_DAY.total_seconds():
            raise ProviderProtocolError(
                "A bucket is not one whole UTC day",
                source=self._source,
                start_time=start.isoformat(),
                end_time=end.isoformat(),
            )
        return {
            DAY_COLUMN: start.date().isoformat(),
            "bucket_start": start.isoformat(),
            "bucket_end": end.isoformat(),
        }

    def moment(self, fields: Mapping[str, Any], name: str) -> datetime:
        """Read a field with Unix seconds or an RFC 3339 time with zone."""
        found = self.read(moment, fields, name)
        if found is None:
            raise ProviderProtocolError("A bucket has no time", source=self._source, field=name)
        return datetime.fromisoformat(found)

    def read(self, reader: Callable[[Any], Any], fields: Mapping[str, Any], name: str) -> Any:  # noqa: ANN401  # a row's values differ
        """Read one field; a missing field and null are None."""
        value = fields.get(name)
        if value is None:
            return None
        try:
            return reader(value)
        except (TypeError, ValueError, OverflowError, OSError) as error:
            raise ShapeChangedError(
                f"{name} has another type than documented: {error}",
                source=self._source,
                field=name,
            ) from None


def day_of(row: Mapping[str, Any]) -> date:
    """Return the UTC day of a row."""
    return date.fromisoformat(row[DAY_COLUMN])


def amount(value: object) -> Decimal:
    """Return an exact amount, from a number or text: APIs send text against their documentation.

    Raises:
        TypeError: neither, or no finite number in NUMERIC's range.
    """
    if isinstance(value, bool) or not isinstance(value, int | str | Decimal):
        raise TypeError(f"an amount was expected, not {type(value).__name__}")
    try:
        found = Decimal(str(value).strip())
    except InvalidOperation:
        raise TypeError("an amount was expected, not this text") from None
    # The exponent, not the value: comparing what is too large overflows.
    if not found.is_finite() or found.adjusted() >= WHOLE_DIGITS:
        raise TypeError("an amount is out of range")
    return found


def money(value: Decimal) -> Decimal:
    """Round an amount for storage, once per row: half away from zero, to 9 decimals."""
    return value.quantize(NUMERIC_STEP, ROUND_HALF_UP, context=_WIDE)


def whole(value: object) -> int:
    """Return a whole number; decimals are accepted when they are zero."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise TypeError(f"a whole number was expected, not {type(value).__name__}")
    if value != int(value):
        raise TypeError("a whole number was expected, not a fraction")
    if int(value) not in INT64:
        raise ValueError("a whole number is out of range")
    return int(value)


def count(value: object) -> int:
    """Return a count, such as of tokens, which is whole and not below zero."""
    found = whole(value)
    if found < 0:
        raise ValueError("a count is below zero")
    return found


def text(value: object) -> str:
    """Return a text unchanged."""
    if isinstance(value, str):
        return value
    raise TypeError(f"a string was expected, not {type(value).__name__}")


def flag(value: object) -> bool:
    """Return a boolean unchanged."""
    if isinstance(value, bool):
        return value
    raise TypeError(f"true or false was expected, not {type(value).__name__}")


def moment(value: object) -> str:
    """Convert Unix seconds or RFC 3339 with zone to ISO 8601, UTC."""
    if isinstance(value, str):
        found = datetime.fromisoformat(value)
        if found.tzinfo is None:
            raise ValueError("a time without zone")
        return found.astimezone(UTC).isoformat()
    return datetime.fromtimestamp(whole(value), UTC).isoformat()


def numeric(value: object) -> Decimal:
    """Convert an amount to NUMERIC."""
    return money(amount(value))


def day(value: object) -> str:
    """Convert a day, Unix seconds or a time with zone to the ISO 8601 day in UTC."""
    if isinstance(value, str) and len(value) == _ISO_DAY:
        return date.fromisoformat(value).isoformat()
    return moment(value)[:_ISO_DAY]


def number(value: object) -> Decimal:
    """Return a number that is not money, unchanged."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise TypeError(f"a number was expected, not {type(value).__name__}")
    return Decimal(value)


def nested(value: object) -> object:
    """Return any value unchanged."""
    return value


_ISO_DAY = len("2026-11-21")
_READERS: Mapping[str, Callable[[Any], Any]] = {
    "INT64": whole,
    "STRING": text,
    "BOOL": flag,
    "NUMERIC": numeric,
    "FLOAT64": number,
    "DATE": day,
    "TIMESTAMP": moment,
    "JSON": nested,
}
READABLE = tuple(sorted(_READERS))
"""Types of column that a field can fill."""


def reader_of(kind: str) -> Callable[[Any], Any]:
    """Return the function that reads a field into a column of a `READABLE` type."""
    return _READERS[kind]
