"""Dates, times and time zones.

https://cloud.google.com/bigquery/docs/reference/standard-sql/timestamp_functions and its kin.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import TYPE_CHECKING

from sqlglot import exp

from sandbox.bigquery.errors import invalid_query, not_implemented
from sandbox.bigquery.sql.coerce import coerce, cost
from sandbox.bigquery.sql.expr import Expr, combine
from sandbox.bigquery.sql.functions.registry import Call, Compiler, define, handler
from sandbox.bigquery.sql.literals import literal
from sandbox.bigquery.sql.nodes import refuse_extra
from sandbox.bigquery.sql.types import (
    DATE,
    DATETIME,
    INT64,
    INTERVAL,
    STRING,
    TIME,
    TIMESTAMP,
    SqlType,
)
from sandbox.bigquery.values import EPOCH

if TYPE_CHECKING:
    from sandbox.bigquery.sql.scope import Scope

define(
    {
        "UNIX_SECONDS": "TIMESTAMP -> INT64: floor_div(epoch_us({0}), 1000000)",
        "UNIX_MILLIS": "TIMESTAMP -> INT64: floor_div(epoch_us({0}), 1000)",
        "UNIX_MICROS": "TIMESTAMP -> INT64: epoch_us({0})",
        "UNIX_DATE": "DATE -> INT64: CAST({0} - DATE '1970-01-01' AS BIGINT)",
        "TIMESTAMP_SECONDS": "INT64 -> TIMESTAMP: micros_timestamp({0} * 1000000)",
        "TIMESTAMP_MILLIS": "INT64 -> TIMESTAMP: micros_timestamp({0} * 1000)",
        "TIMESTAMP_MICROS": "INT64 -> TIMESTAMP: micros_timestamp({0})",
        "DATE_FROM_UNIX_DATE": "INT64 -> DATE: (DATE '1970-01-01' + CAST({0} AS INTEGER))",
    }
)

_CLOCK_PARTS = {"MICROSECOND", "MILLISECOND", "SECOND", "MINUTE", "HOUR"}
_DATE_PARTS = {"DAY", "WEEK", "ISOWEEK", "MONTH", "QUARTER", "YEAR", "ISOYEAR"}
_WEEKDAYS = ("SUNDAY", "MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY")


def _part(node: exp.Expr) -> tuple[str, str | None]:
    """A date part and, for WEEK(MONDAY), its first weekday."""
    if isinstance(node, exp.Anonymous) and str(node.this).upper() == "WEEK":
        if len(node.expressions) == 1 and node.expressions[0].name.upper() in _WEEKDAYS:
            return "WEEK", node.expressions[0].name.upper()
        raise invalid_query(
            f"A valid date part argument for WEEK is required, but found {node.sql('bigquery')}"
        )
    name = node.name.upper() if isinstance(node, exp.Column | exp.Var | exp.Identifier) else ""
    if name not in _CLOCK_PARTS | _DATE_PARTS | {"DAYOFWEEK", "DAYOFYEAR", "DATE", "TIME"}:
        raise invalid_query(f"A valid date part name is required but found {node.sql('bigquery')}")
    return name, "SUNDAY" if name == "WEEK" else None


def _zone(call: Call, index: int) -> str | None:
    """The time zone argument's SQL, when there is one."""
    if len(call.nodes) <= index:
        return None
    return _zone_sql(call.arg(index))


def _zone_sql(value: Expr) -> str:
    value = coerce(value, STRING)
    if value.is_literal and value.literal is not None:
        from sandbox.bigquery.values import zone

        try:
            zone(value.literal)
        except ValueError as error:
            raise invalid_query(str(error)) from None
        if value.literal[0] in "+-":
            raise not_implemented("time zones given as an offset")
    return value.sql


def _civil(value: Expr, zone: str | None) -> str:
    """A TIMESTAMP as the civil time of a zone."""
    if zone in {None, "'UTC'"}:
        return f"CAST({value.sql} AS TIMESTAMP)"
    return f"timezone({zone}, {value.sql})"


def _moment(sql: str, zone: str | None) -> str:
    """A civil time of a zone as a TIMESTAMP."""
    if zone in {None, "'UTC'"}:
        return f"CAST({sql} AS TIMESTAMPTZ)"
    return f"timezone({zone}, {sql})"


def _temporal(call: Call, index: int, *kinds: SqlType) -> Expr:
    """An argument as the first of these types that it coerces to."""
    made = call.arg(index)
    ranked = [(cost(made, kind), kind) for kind in kinds]
    fitting = [(score, kind) for score, kind in ranked if score is not None]
    if not fitting:
        raise call.mismatch([made])
    return coerce(made, min(fitting, key=lambda one: one[0])[1])


# --- now ------------------------------------------------------------------------------------


@handler("CURRENT_TIMESTAMP", "CURRENT_DATETIME", "CURRENT_DATE", "CURRENT_TIME")
def current(call: Call) -> Expr:
    """The moment the query began, in a zone for civil results."""
    call.check_count(0, 0 if call.name == "CURRENT_TIMESTAMP" else 1)
    micros = call.compiler.now_micros
    if call.name == "CURRENT_TIMESTAMP":
        return literal(micros, TIMESTAMP)
    kind = {"CURRENT_DATETIME": DATETIME, "CURRENT_DATE": DATE, "CURRENT_TIME": TIME}[call.name]
    moment = literal(micros, TIMESTAMP)
    zone = _zone(call, 0)
    sql = f"CAST({_civil(moment, zone)} AS {kind.duck})"
    if zone is not None:
        return combine(sql, kind, [moment, call.arg(0)])
    civil = (EPOCH + dt.timedelta(microseconds=micros)).replace(tzinfo=None)
    value = {DATE: civil.date(), TIME: civil.time(), DATETIME: civil}[kind]
    return literal(value, kind)


# --- constructors and conversions -----------------------------------------------------------


@handler("DATE")
def date(call: Call) -> Expr:
    """DATE(year, month, day), DATE(timestamp[, zone]), DATE(datetime)."""
    call.check_count(1, 3)
    if len(call.nodes) == 3:
        parts = [coerce(one, INT64) for one in call.args()]
        return combine(f"make_date_checked({', '.join(one.sql for one in parts)})", DATE, parts)
    value = _temporal(call, 0, TIMESTAMP, DATETIME, DATE)
    zone = _zone(call, 1)
    if value.type != TIMESTAMP:
        if zone is not None:
            raise call.mismatch(call.args())
        return combine(f"CAST({value.sql} AS DATE)", DATE, [value])
    return combine(f"CAST({_civil(value, zone)} AS DATE)", DATE, [value])


@handler("DATETIME")
def datetime(call: Call) -> Expr:
    """DATETIME(six parts), DATETIME(date[, time]), DATETIME(timestamp[, zone])."""
    if len(call.nodes) == 6:
        parts = [coerce(one, INT64) for one in call.args()]
        listed = ", ".join(one.sql for one in parts)
        return combine(f"make_datetime_checked({listed})", DATETIME, parts)
    call.check_count(1, 2)
    value = _temporal(call, 0, TIMESTAMP, DATETIME, DATE)
    if value.type == TIMESTAMP:
        return combine(_civil(value, _zone(call, 1)), DATETIME, [value])
    if len(call.nodes) == 2:
        clock = coerce(call.arg(1), TIME)
        return combine(f"(CAST({value.sql} AS DATE) + {clock.sql})", DATETIME, [value, clock])
    return combine(f"CAST({value.sql} AS TIMESTAMP)", DATETIME, [value])


@handler("TIMESTAMP")
def timestamp(call: Call) -> Expr:
    """TIMESTAMP(string|date|datetime[, zone])."""
    call.check_count(1, 2)
    value, zone = call.arg(0), _zone(call, 1)
    if value.type == STRING:
        sql = f"text_to_timestamp_in({value.sql}, {zone or chr(39) + 'UTC' + chr(39)})"
        if value.is_literal and zone is None and value.literal is not None:
            return coerce(value, TIMESTAMP)
        return combine(sql, TIMESTAMP, [value])
    value = _temporal(call, 0, TIMESTAMP, DATETIME, DATE)
    if value.type == TIMESTAMP:
        if zone is not None:
            raise call.mismatch(call.args())
        return value
    return combine(_moment(f"CAST({value.sql} AS TIMESTAMP)", zone), TIMESTAMP, [value])


@handler("TIME")
def time(call: Call) -> Expr:
    """TIME(hour, minute, second), TIME(timestamp[, zone]), TIME(datetime)."""
    call.check_count(1, 3)
    if len(call.nodes) == 3:
        parts = [coerce(one, INT64) for one in call.args()]
        return combine(f"make_time_checked({', '.join(one.sql for one in parts)})", TIME, parts)
    value = _temporal(call, 0, TIMESTAMP, DATETIME)
    sql = value.sql if value.type == DATETIME else _civil(value, _zone(call, 1))
    return combine(f"CAST({sql} AS TIME)", TIME, [value])


@handler("STRING")
def string(call: Call) -> Expr:
    """STRING(timestamp[, zone]), and of the other moments; STRING(json)."""
    from sandbox.bigquery.sql.casts import cast

    call.check_count(1, 2)
    value = call.arg(0)
    if value.type.kind == "JSON":
        return combine(f"json_as_string({value.sql})", STRING, [value])
    if value.type not in {TIMESTAMP, DATE, DATETIME, TIME}:
        raise call.mismatch([value])
    if len(call.nodes) == 2:
        raise not_implemented("STRING(timestamp, zone)")
    return cast(value, STRING, safe=False)


# --- arithmetic -----------------------------------------------------------------------------

_FAMILIES = {"DATE": DATE, "DATETIME": DATETIME, "TIMESTAMP": TIMESTAMP, "TIME": TIME}


def _family(call: Call, index: int = 0) -> Expr:
    """The first argument as the type the function is named after.

    DATE_TRUNC and its like take any moment; the rest take their own type.
    """
    return coerce(call.arg(index), _FAMILIES[call.name.split("_")[0]])


@handler(
    "DATE_ADD",
    "DATE_SUB",
    "DATETIME_ADD",
    "DATETIME_SUB",
    "TIMESTAMP_ADD",
    "TIMESTAMP_SUB",
    "TIME_ADD",
    "TIME_SUB",
)
def shift(call: Call) -> Expr:
    """DATE_ADD(date, INTERVAL n PART) and its kin."""
    call.check_count(2)
    value, node = _family(call), call.nodes[1]
    if not isinstance(node, exp.Interval) or isinstance(node.args.get("unit"), exp.IntervalSpan):
        raise invalid_query(f"{call.name} expects INTERVAL int64 date_part")
    part, _ = _part(node.args["unit"])
    allowed = {
        "DATE": _DATE_PARTS - {"ISOWEEK", "ISOYEAR"},
        "TIME": _CLOCK_PARTS,
        "TIMESTAMP": _CLOCK_PARTS | {"DAY"},
        "DATETIME": _CLOCK_PARTS | _DATE_PARTS - {"ISOWEEK", "ISOYEAR"},
    }[value.type.kind]
    if part not in allowed:
        raise invalid_query(f"{call.name} does not support the {part} date part")
    count = _interval_count(call.compiler, node, call.scope)
    sign = "-" if call.name.endswith("_SUB") else "+"
    sql = f"({value.sql} {sign} {_unit(part)}({count.sql}))"
    sql = f"CAST({sql} AS {value.type.duck})" if value.type in {DATE, TIME} else sql
    return combine(sql, value.type, [value, count])


def _unit(part: str) -> str:
    if part == "QUARTER":
        return "to_quarters"
    return f"to_{part.lower()}s"


def _interval_count(compiler: Compiler, node: exp.Expr, scope: Scope) -> Expr:
    inner = node.this
    if isinstance(inner, exp.Literal) and inner.is_string:
        # sqlglot reads INTERVAL 1 DAY's number as text.
        try:
            return literal(int(inner.this), INT64)
        except ValueError:
            raise invalid_query(f"Invalid INTERVAL value: {inner.this}") from None
    return coerce(compiler.expr(inner, scope), INT64)


def interval(compiler: Compiler, node: exp.Expr, scope: Scope) -> Expr:
    """INTERVAL n PART as a value."""
    refuse_extra(node, "this", "unit")
    unit = node.args.get("unit")
    if unit is None or isinstance(unit, exp.IntervalSpan):
        raise not_implemented("INTERVAL with several parts")
    part, _ = _part(unit)
    if part in {"ISOWEEK", "ISOYEAR"}:
        raise invalid_query(f"Unsupported INTERVAL part {part}")
    count = _interval_count(compiler, node, scope)
    return combine(f"{_unit(part)}({count.sql})", INTERVAL, [count])


@handler("DATE_DIFF", "DATETIME_DIFF", "TIMESTAMP_DIFF", "TIME_DIFF")
def difference(call: Call) -> Expr:
    """Part boundaries between two moments (whole units for TIMESTAMP)."""
    call.check_count(3)
    one, other = call.arg(0), call.arg(1)
    kind = _FAMILIES[call.name.split("_")[0]]
    if call.name == "DATE_DIFF" and {one.type, other.type} & {TIMESTAMP, DATETIME}:
        raise not_implemented("DATE_DIFF of TIMESTAMP or DATETIME")
    one, other = coerce(one, kind), coerce(other, kind)
    part, first = _part(call.nodes[2])
    if kind == TIMESTAMP:
        return combine(_timestamp_diff(part, one, other), INT64, [one, other])
    if (kind == TIME and part not in _CLOCK_PARTS) or (kind == DATE and part in _CLOCK_PARTS):
        raise invalid_query(f"{call.name} does not support the {part} date part")
    if part in {"WEEK", "ISOWEEK"}:
        first = "MONDAY" if part == "ISOWEEK" else first
        sql = (
            f"(week_number({one.sql}, {_shift(first)}) - week_number({other.sql}, {_shift(first)}))"
        )
        return combine(sql, INT64, [one, other])
    sql = f"date_diff('{part.lower()}', {other.sql}, {one.sql})"
    return combine(sql, INT64, [one, other])


def _timestamp_diff(part: str, one: Expr, other: Expr) -> str:
    units = {
        "MICROSECOND": 1,
        "MILLISECOND": 1_000,
        "SECOND": 1_000_000,
        "MINUTE": 60_000_000,
        "HOUR": 3_600_000_000,
        "DAY": 86_400_000_000,
    }
    if part not in units:
        raise invalid_query(f"TIMESTAMP_DIFF does not support the {part} date part")
    # Whole units, truncated towards zero.
    return f"((epoch_us({one.sql}) - epoch_us({other.sql})) // {units[part]})"


def _shift(first: str | None) -> int:
    """Days from a Monday back to the week's first weekday: SUNDAY is 1."""
    return (1 - _WEEKDAYS.index(first or "SUNDAY")) % 7


@handler("DATE_TRUNC", "DATETIME_TRUNC", "TIMESTAMP_TRUNC", "TIME_TRUNC")
def truncate(call: Call) -> Expr:
    """The beginning of the part that a moment lies in."""
    call.check_count(2, 3 if call.name in {"TIMESTAMP_TRUNC", "DATETIME_TRUNC"} else 2)
    value = call.arg(0)
    if value.type not in {DATE, DATETIME, TIMESTAMP, TIME}:
        value = _family(call)
    elif value.type != _FAMILIES[call.name.split("_")[0]] and call.name == "TIME_TRUNC":
        raise call.mismatch([value])
    part, first = _part(call.nodes[1])
    zone = _zone(call, 2)
    if value.type == TIMESTAMP:
        civil = _truncated(_civil(value, zone), part, first)
        return combine(_moment(f"CAST({civil} AS TIMESTAMP)", zone), TIMESTAMP, [value])
    if zone is not None:
        raise call.mismatch(call.args())
    if value.type == DATE and part in _CLOCK_PARTS:
        raise invalid_query(f"{call.name} does not support the {part} date part")
    sql = f"CAST({_truncated(value.sql, part, first)} AS {value.type.duck})"
    return combine(sql, value.type, [value])


def _truncated(sql: str, part: str, first: str | None) -> str:
    if part == "ISOWEEK":
        return f"date_trunc('week', {sql})"
    if part == "WEEK":
        days = f"to_days({_shift(first)})"
        return f"(date_trunc('week', {sql} + {days}) - {days})"
    if part == "ISOYEAR":
        raise not_implemented("truncation to ISOYEAR")
    return f"date_trunc('{part.lower()}', {sql})"


@handler("LAST_DAY")
def last_day(call: Call) -> Expr:
    """The last day of the part that a date lies in."""
    call.check_count(1, 2)
    value = _temporal(call, 0, DATE, DATETIME)
    part, first = ("MONTH", None) if len(call.nodes) == 1 else _part(call.nodes[1])
    spans = {
        "YEAR": "to_years(1)",
        "QUARTER": "to_months(3)",
        "MONTH": "to_months(1)",
        "WEEK": "to_days(7)",
        "ISOWEEK": "to_days(7)",
    }
    if part not in spans:
        raise invalid_query(f"LAST_DAY does not support the {part} date part")
    start = _truncated(f"CAST({value.sql} AS TIMESTAMP)", part, first)
    return combine(f"CAST({start} + {spans[part]} - to_days(1) AS DATE)", DATE, [value])


# --- parts ----------------------------------------------------------------------------------

_EXTRACTS = {
    "YEAR": "year",
    "MONTH": "month",
    "DAY": "day",
    "QUARTER": "quarter",
    "HOUR": "hour",
    "MINUTE": "minute",
    "SECOND": "second",
    "ISOYEAR": "isoyear",
    "ISOWEEK": "week",
    "DAYOFYEAR": "doy",
}


def extract(compiler: Compiler, node: exp.Expr, scope: Scope) -> Expr:
    """EXTRACT(part FROM moment [AT TIME ZONE zone])."""
    refuse_extra(node, "this", "expression")
    part, first = _part(node.this)
    inner, zone = node.args["expression"], None
    if isinstance(inner, exp.AtTimeZone):
        zone = _zone_sql(compiler.expr(inner.args["zone"], scope))
        inner = inner.this
    value = compiler.expr(inner, scope)
    if value.type not in {DATE, DATETIME, TIMESTAMP, TIME}:
        raise invalid_query(f"EXTRACT does not support arguments of type {value.type}")
    if zone is not None and value.type != TIMESTAMP:
        raise invalid_query(f"EXTRACT from {value.type} does not support AT TIME ZONE")
    civil = _civil(value, zone) if value.type == TIMESTAMP else value.sql
    if part in {"DATE", "TIME"}:
        kind = DATE if part == "DATE" else TIME
        return combine(f"CAST({civil} AS {kind.duck})", kind, [value])
    if (value.type == DATE and part in _CLOCK_PARTS) or (
        value.type == TIME and part not in _CLOCK_PARTS
    ):
        raise invalid_query(f"EXTRACT from {value.type} does not support the {part} date part")
    return combine(_extracted(part, first, civil), INT64, [value])


def _extracted(part: str, first: str | None, civil: str) -> str:
    if part == "DAYOFWEEK":
        return f"(dayofweek({civil}) + 1)"
    if part in {"MILLISECOND", "MICROSECOND"}:
        unit = 1000 if part == "MILLISECOND" else 1
        return f"((date_part('microsecond', {civil}) % 1000000) // {unit})"
    if part == "WEEK":
        # Days before the year's first such weekday are in week 0.
        return f"week_of_year({civil}, {_WEEKDAYS.index(first or 'SUNDAY')})"
    return f"date_part('{_EXTRACTS[part]}', {civil})"


# --- formatting and parsing -----------------------------------------------------------------


@handler("FORMAT_DATE", "FORMAT_DATETIME", "FORMAT_TIMESTAMP", "FORMAT_TIME")
def form(call: Call) -> Expr:
    """FORMAT_TIMESTAMP(format, moment[, zone]) and its kin."""
    call.check_count(2, 3 if call.name == "FORMAT_TIMESTAMP" else 2)
    pattern = coerce(call.arg(0), STRING)
    kind = _FAMILIES[call.name.split("_")[1]]
    value = coerce(call.arg(1), kind)
    zone = _zone(call, 2)
    zone_text = zone or "'UTC'"
    civil = _civil(value, zone) if kind == TIMESTAMP else value.sql
    if kind == TIME:
        civil = f"(DATE '1970-01-01' + {civil})"
    sql = f"format_moment({pattern.sql}, CAST({civil} AS TIMESTAMP), '{kind.kind}', {zone_text})"
    native = _native_format(pattern, kind)
    if native is not None:
        sql = f"strftime(CAST({civil} AS TIMESTAMP), '{native}')"
    return combine(sql, STRING, [pattern, value])


_PLAIN = {"%Y", "%m", "%d", "%H", "%M", "%S", "%%", "%y", "%j"}


def _native_format(pattern: Expr, kind: SqlType) -> str | None:
    """The pattern for DuckDB's strftime, when it means the same there."""
    if not pattern.is_literal or pattern.literal is None or kind == TIME:
        return None
    text = pattern.literal.replace("%F", "%Y-%m-%d").replace("%T", "%H:%M:%S")
    parts = [text[i : i + 2] for i in range(len(text)) if text[i] == "%"]
    if "%%" in text or any(one not in _PLAIN for one in parts):
        return None
    return str(text).replace("'", "''")


@handler("PARSE_DATE", "PARSE_DATETIME", "PARSE_TIMESTAMP", "PARSE_TIME", safe=True)
def parse(call: Call) -> Expr:
    """PARSE_DATE(format, text) and its kin."""
    call.check_count(2, 3 if call.name == "PARSE_TIMESTAMP" else 2)
    pattern, value = coerce(call.arg(0), STRING), coerce(call.arg(1), STRING)
    kind = _FAMILIES[call.name.split("_")[1]]
    zone = _zone(call, 2) or "'UTC'"
    name = call.udf("parse_moment")
    micros = f"{name}({pattern.sql}, {value.sql}, '{kind.kind}', {zone})"
    sql = f"micros_timestamp({micros})"
    if kind != TIMESTAMP:
        sql = f"CAST(CAST({sql} AS TIMESTAMP) AS {kind.duck})"
    return replace(combine(sql, kind, [pattern, value]))
