"""Rows that come from outside: every value checked against its column, or rejected by name.

The one place of strictness for load jobs and streaming inserts: types, REQUIRED, unknown fields,
lengths and precision. Refusals are worded as BigQuery words them where that is known.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa

from convergence_sandbox.bigquery.resources.fields import Field, Schema
from convergence_sandbox.bigquery.rows.values import (
    EPOCH,
    INT64_MAX,
    INT64_MIN,
    MICROSECOND,
    dump_json,
    is_exact,
    parse_bool,
    parse_date,
    parse_datetime,
    parse_decimal,
    parse_float64,
    parse_int64,
    parse_json,
    parse_time,
    parse_timestamp,
    round_decimal,
    to_bignumeric,
    to_numeric,
)

_FIRST_SECOND = Decimal(-62_135_596_800)  # 0001-01-01
_NO_SECOND = Decimal(253_402_300_800)  # 10000-01-01

Value = Any
Convert = Callable[[Value], Value]
# BIGNUMERIC is staged as the text of its unscaled integer, which DuckDB casts to BIGNUM.
_ARROW: dict[str, pa.DataType] = {
    "STRING": pa.string(),
    "BYTES": pa.binary(),
    "INTEGER": pa.int64(),
    "FLOAT": pa.float64(),
    "NUMERIC": pa.decimal128(38, 9),
    "BIGNUMERIC": pa.string(),
    "BOOLEAN": pa.bool_(),
    "TIMESTAMP": pa.timestamp("us", tz="UTC"),
    "DATE": pa.date32(),
    "TIME": pa.time64("us"),
    "DATETIME": pa.timestamp("us"),
    "JSON": pa.string(),
}


class RowError(ValueError):  # what it says of a row is what it is
    """Raised when one value of one row is rejected.

    Attributes:
        location: dotted path of the field.
    """

    def __init__(self, message: str, *, location: str) -> None:
        super().__init__(message)
        self.location = location


def arrow_type(field: Field) -> pa.DataType:
    """Return how rows of this column are staged for DuckDB."""
    if field.type == "RECORD":
        kind = pa.struct([(child.name, arrow_type(child)) for child in field.fields])
    else:
        kind = _ARROW[field.type]
    return pa.list_(kind) if field.mode == "REPEATED" else kind


def _rejected(message: str) -> ValueError:
    return ValueError(message)


class RowReader:
    """Turns rows (JSON objects) into typed values of one schema.

    Args:
        schema: the table's columns.
        ignore_unknown: drop fields the schema has not, instead of rejecting the row.
    """

    def __init__(self, schema: Schema, *, ignore_unknown: bool = False) -> None:
        self._schema = schema
        self._record = _record_converter(schema.fields, "", ignore_unknown=ignore_unknown)

    def read(self, row: Value) -> dict[str, Value]:
        """Return the row with every column present and typed.

        Raises:
            RowError: a value the column does not take.
        """
        converted = self._record(row)
        if converted is None:
            raise RowError("Row is not a JSON object", location="")
        return dict(converted)

    def table(self, rows: Sequence[Mapping[str, Value]]) -> pa.Table:
        """Return rows that `read` gave, as one Arrow table."""
        return pa.table(
            {
                field.name: pa.array([row[field.name] for row in rows], type=arrow_type(field))
                for field in self._schema.fields
            }
        )


def _record_converter(fields: Iterable[Field], path: str, *, ignore_unknown: bool) -> Convert:
    known: dict[str, tuple[Field, Convert]] = {}
    for field in fields:
        where = f"{path}{field.name}"
        known[field.name.lower()] = (field, _field_converter(field, where, ignore_unknown))
    names = {field.name: key for key, (field, _) in known.items()}

    def convert(value: Value) -> Value:
        if value is None:
            return None
        if not isinstance(value, Mapping):
            raise RowError("This field is a record.", location=path.rstrip("."))
        supplied: dict[str, Value] = {}
        for name, one in value.items():
            key = names.get(name) or str(name).lower()
            if key not in known:
                if ignore_unknown:
                    continue
                raise RowError(f"no such field: {name}.", location=f"{path}{name}")
            supplied[key] = one
        return {field.name: to(supplied.get(key)) for key, (field, to) in known.items()}

    return convert


def _field_converter(field: Field, where: str, ignore_unknown: bool) -> Convert:
    if field.type == "RECORD":
        single = _record_converter(field.fields, f"{where}.", ignore_unknown=ignore_unknown)
    else:
        single = _scalar_converter(field, where)
    if field.mode == "REPEATED":
        return _repeated(single, where)
    if field.mode == "REQUIRED":
        return _required(single, where)
    return single


def _repeated(single: Convert, where: str) -> Convert:
    def convert(values: Value) -> Value:
        if values is None:
            return []
        if not isinstance(values, list | tuple):
            raise RowError(f"Repeated field {where} must be an array.", location=where)
        if any(value is None for value in values):
            raise RowError(
                f"Only optional fields can be set to NULL. Field: {where}; Value: NULL",
                location=where,
            )
        return [single(value) for value in values]

    return convert


def _required(single: Convert, where: str) -> Convert:
    def convert(value: Value) -> Value:
        if value is None:
            raise RowError(f"Missing required field: {where}.", location=where)
        return single(value)

    return convert


def _scalar_converter(field: Field, where: str) -> Convert:
    parse = _PARSERS[field.type](field)

    def convert(value: Value) -> Value:
        if value is None:
            return None
        try:
            return parse(value)
        except (ValueError, TypeError, OverflowError, binascii.Error) as error:
            raise RowError(f"{error} Field: {where}; Value: {value!s}", location=where) from None

    return convert


def _string(field: Field) -> Convert:
    limit = field.max_length

    def parse(value: Value) -> str:
        text = _as_text(value)
        if "\0" in text:
            raise _rejected("The local BigQuery stand-in does not store the character NUL.")
        if limit is not None and len(text) > limit:
            raise _rejected(
                f"STRING({limit}) has maximum length {limit} but got a value with"
                f" length {len(text)}."
            )
        return text

    return parse


def _as_text(value: Value) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float | Decimal):
        return str(value)
    raise _rejected(f"Cannot convert {type(value).__name__} to STRING.")


def _bytes(field: Field) -> Convert:
    limit = field.max_length

    def parse(value: Value) -> bytes:
        made = value if isinstance(value, bytes) else _base64(value)
        if limit is not None and len(made) > limit:
            raise _rejected(
                f"BYTES({limit}) has maximum length {limit} but got a value with"
                f" length {len(made)}."
            )
        return made

    return parse


def _base64(value: Value) -> bytes:
    if not isinstance(value, str):
        raise _rejected("Cannot convert value to bytes.")
    padded = value.replace("-", "+").replace("_", "/") + "=" * (-len(value) % 4)
    return base64.b64decode(padded, validate=True)


def _integer(_: Field) -> Convert:
    def parse(value: Value) -> int:
        if isinstance(value, bool):
            raise _rejected("Cannot convert value to integer (bad value).")
        if isinstance(value, float | Decimal):
            if value != int(value):
                raise _rejected("Cannot convert value to integer (bad value).")
            value = int(value)
        made = value if isinstance(value, int) else parse_int64(value)
        if not INT64_MIN <= made <= INT64_MAX:
            raise _rejected("Cannot convert value to integer (bad value).")
        return made

    return parse


def _float(_: Field) -> Convert:
    def parse(value: Value) -> float:
        if isinstance(value, bool):
            raise _rejected("Cannot convert value to floating point (bad value).")
        return parse_float64(value) if isinstance(value, str) else float(value)

    return parse


def _decimal(value: Value) -> Decimal:
    if isinstance(value, bool):
        raise _rejected("Invalid NUMERIC value: bool.")
    if isinstance(value, float):
        return Decimal(repr(value))
    return parse_decimal(value) if isinstance(value, str) else Decimal(value)


def _numeric(field: Field) -> Convert:
    scale = field.scale or 0
    limit = None if field.precision is None else Decimal(10) ** (field.precision - scale)

    def parse(value: Value) -> Decimal:
        made = _decimal(value)
        if not is_exact(made, 9):
            raise _rejected(f"Invalid NUMERIC value: {value}")
        made = to_numeric(made)
        if limit is not None:
            made = round_decimal(made, scale)
            if made.copy_abs() >= limit:
                raise _rejected(f"Value does not fit NUMERIC({field.precision}, {scale}).")
        return made

    return parse


def _bignumeric(field: Field) -> Convert:
    scale = field.scale or 0
    limit = None if field.precision is None else Decimal(10) ** (field.precision - scale)

    def parse(value: Value) -> str:
        made = _decimal(value)
        if not is_exact(made, 38):
            raise _rejected(f"Invalid BIGNUMERIC value: {value}")
        if limit is not None:
            made = round_decimal(made, scale)
            if made.copy_abs() >= limit:
                raise _rejected(f"Value does not fit BIGNUMERIC({field.precision}, {scale}).")
        return str(to_bignumeric(made))

    return parse


def _boolean(_: Field) -> Convert:
    def parse(value: Value) -> bool:
        if isinstance(value, bool):
            return value
        if not isinstance(value, str):
            raise _rejected("Cannot convert value to boolean.")
        return parse_bool(value)

    return parse


def _date(_: Field) -> Convert:
    def parse(value: Value) -> dt.date:
        if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
            return value
        return parse_date(_require_text(value, "date"))

    return parse


def _time(_: Field) -> Convert:
    return lambda value: (
        value if isinstance(value, dt.time) else parse_time(_require_text(value, "time"))
    )


def _datetime(_: Field) -> Convert:
    def parse(value: Value) -> dt.datetime:
        if isinstance(value, dt.datetime):
            if value.tzinfo is not None:
                raise _rejected("A DATETIME has no time zone.")
            return value
        return parse_datetime(_require_text(value, "datetime"))

    return parse


def _timestamp(_: Field) -> Convert:
    """Microseconds; JSON numbers are seconds since the epoch, as in BigQuery's load jobs."""

    def parse(value: Value) -> int:
        if isinstance(value, dt.datetime):
            aware = value if value.tzinfo else value.replace(tzinfo=dt.UTC)
            return (aware - EPOCH) // MICROSECOND
        if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
            return _checked_micros(round_decimal(Decimal(str(value)), 6))
        return parse_timestamp(_require_text(value, "timestamp"))

    return parse


def _checked_micros(seconds: Decimal) -> int:
    """Microseconds of a moment that BigQuery has: years 1 to 9999."""
    if not _FIRST_SECOND <= seconds < _NO_SECOND:
        raise _rejected("Cannot convert value to timestamp (out of range).")
    return int(seconds.scaleb(6))


def _json(_: Field) -> Convert:
    def parse(value: Value) -> str:
        if isinstance(value, str):
            return parse_json(value)
        return dump_json(json.loads(json.dumps(value, default=float)))

    return parse


def _require_text(value: Value, kind: str) -> str:
    if not isinstance(value, str):
        raise _rejected(f"Cannot convert value to {kind}.")
    return value


_PARSERS: dict[str, Callable[[Field], Convert]] = {
    "STRING": _string,
    "BYTES": _bytes,
    "INTEGER": _integer,
    "FLOAT": _float,
    "NUMERIC": _numeric,
    "BIGNUMERIC": _bignumeric,
    "BOOLEAN": _boolean,
    "DATE": _date,
    "TIME": _time,
    "DATETIME": _datetime,
    "TIMESTAMP": _timestamp,
    "JSON": _json,
}
