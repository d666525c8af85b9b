"""Python values as DuckDB literals, and literals read from text.

Values by type: int, float, Decimal (NUMERIC and BIGNUMERIC), bool, str, bytes, date, time,
datetime without zone, int microseconds (TIMESTAMP), normalized text (JSON), list (ARRAY and
STRUCT, in field order).
"""

from __future__ import annotations

import datetime as dt
import json
import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from convergence_sandbox.bigquery.errors import invalid_query, not_implemented
from convergence_sandbox.bigquery.rows.values import (
    EPOCH,
    parse_bool,
    parse_date,
    parse_datetime,
    parse_decimal,
    parse_float64,
    parse_int64,
    parse_json,
    parse_time,
    parse_timestamp,
    to_bignumeric,
    to_numeric,
)
from convergence_sandbox.bigquery.sql.expr import Expr
from convergence_sandbox.bigquery.sql.types import SqlType, quote, stored_names, text

Value = Any

# DuckDB binds many structs one by one: as one JSON text they cost a twentieth of that.
MIN_JSON_ROWS = 8


def literal(value: Value, kind: SqlType, *, is_parameter: bool = False) -> Expr:
    """Return a literal expression of that type."""
    return Expr(literal_sql(value, kind), kind, literal=value, is_parameter=is_parameter)


def literal_sql(value: Value, kind: SqlType) -> str:
    """Return the DuckDB literal of a value; None gives a typed NULL."""
    if value is None:
        return f"CAST(NULL AS {kind.duck})"
    if kind.element is not None:
        if len(value) >= MIN_JSON_ROWS and is_json_table(value, kind.element):
            return f"CAST({json_table_sql(value, kind.element)} AS {kind.duck})"
        inner = ", ".join(literal_sql(one, kind.element) for one in value)
        return f"CAST([{inner}] AS {kind.duck})"
    if kind.kind == "STRUCT":
        parts = ", ".join(
            f"{quote(name)} := {literal_sql(one, one_kind)}"
            for name, (_, one_kind), one in zip(stored_names(kind), kind.fields, value, strict=True)
        )
        return f"struct_pack({parts})"
    return _SCALARS[kind.kind](value)


def is_json_table(rows: list[Value], element: SqlType) -> bool:
    """Return whether `json_table_sql` gives exactly these rows."""
    if element.kind != "STRUCT":
        return False
    kinds = {"ARRAY" if one.element is not None else one.kind for _, one in element.fields}
    texts = (one for row in rows for one in row or () if isinstance(one, str))
    return _JSON_FORMS.keys() >= kinds and not any("\0" in one for one in texts)


def json_table_sql(rows: list[Value], element: SqlType) -> str:
    """Return structs as one JSON text, which DuckDB converts to an array of their type."""
    columns = [
        (name, kind) for name, (_, kind) in zip(stored_names(element), element.fields, strict=True)
    ]
    written = [
        None
        if row is None
        else {
            name: None if value is None else _JSON_FORMS[kind.kind](value)
            for (name, kind), value in zip(columns, row, strict=True)
        }
        for row in rows
    ]
    shape = json.dumps([{name: kind.duck for name, kind in columns}], ensure_ascii=False)
    return f"from_json_strict({text(json.dumps(written, ensure_ascii=False))}, {text(shape)})"


def _format_float(value: float) -> str:
    if math.isnan(value) or math.isinf(value):
        return f"CAST('{value}' AS DOUBLE)"
    return f"CAST('{value!r}' AS DOUBLE)"


def _moment(value: dt.datetime) -> str:
    return value.isoformat(sep=" ", timespec="microseconds")


def _timestamp(micros: int) -> str:
    moment = EPOCH + dt.timedelta(microseconds=micros)
    return f"TIMESTAMPTZ '{_moment(moment)}'"


_SCALARS: dict[str, Callable[[Value], str]] = {
    "INT64": lambda value: f"CAST({value} AS BIGINT)",
    "FLOAT64": _format_float,
    "NUMERIC": lambda value: f"CAST('{value:f}' AS DECIMAL(38,9))",
    "BIGNUMERIC": lambda value: f"CAST('{to_bignumeric(value)}' AS BIGNUM)",
    "BOOL": lambda value: "TRUE" if value else "FALSE",
    "STRING": text,
    "BYTES": lambda value: f"unhex('{value.hex()}')",
    "DATE": lambda value: f"DATE '{value.isoformat()}'",
    "TIME": lambda value: f"TIME '{value.isoformat()}'",
    "DATETIME": lambda value: f"TIMESTAMP '{_moment(value)}'",
    "TIMESTAMP": _timestamp,
    "JSON": lambda value: f"CAST({text(value)} AS JSON)",
}
_JSON_FORMS: dict[str, Callable[[Value], Any]] = {
    "INT64": int,
    "NUMERIC": lambda value: f"{value:f}",
    "BOOL": bool,
    "STRING": str,
    "DATE": lambda value: value.isoformat(),
}
_PARSERS: dict[str, Callable[[str], Value]] = {
    "INT64": parse_int64,
    "FLOAT64": parse_float64,
    "NUMERIC": lambda raw_text: to_numeric(parse_decimal(raw_text)),
    "BIGNUMERIC": parse_decimal,
    "BOOL": parse_bool,
    "STRING": str,
    "BYTES": lambda raw_text: raw_text.encode(),
    "DATE": parse_date,
    "TIME": parse_time,
    "DATETIME": parse_datetime,
    "TIMESTAMP": parse_timestamp,
    "JSON": parse_json,
}


def parse_text(raw_text: str, kind: SqlType) -> Value:
    """Return the value that text denotes in a type, as CAST from STRING reads it.

    Raises:
        BigQueryError: the text denotes none.
    """
    parse = _PARSERS.get(kind.kind)
    if parse is None:
        raise not_implemented(f"text as a value of type {kind}")
    try:
        value = parse(raw_text)
        if kind.kind == "BIGNUMERIC":
            to_bignumeric(value)
    except ValueError as error:
        raise invalid_query(str(error)) from None
    return value


def convert_literal(value: Value, old: SqlType, new: SqlType) -> Value:
    """Return a literal's value in a type it coerces to (numbers widen, text denotes a time)."""
    if value is None or old == new:
        return value
    if old.kind == "STRING":
        return parse_text(value, new)
    if new.kind == "FLOAT64":
        return float(value)
    if new.kind in {"NUMERIC", "BIGNUMERIC"}:
        made = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
        try:
            return to_numeric(made) if new.kind == "NUMERIC" else made
        except ValueError as error:
            raise invalid_query(str(error)) from None
    if new.kind == "DATETIME" and old.kind == "DATE":
        return dt.datetime.combine(value, dt.time())
    raise not_implemented(f"a literal of type {old} as {new}")
