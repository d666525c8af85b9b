"""Moments shifted, subtracted and truncated; intervals.

https://cloud.google.com/bigquery/docs/reference/standard-sql/timestamp_functions and its kin.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlglot import exp

from convergence_sandbox.bigquery.errors import invalid_query, not_implemented
from convergence_sandbox.bigquery.sql.coerce import coerce
from convergence_sandbox.bigquery.sql.expr import Expr, combine
from convergence_sandbox.bigquery.sql.functions.registry import Call, Compiler, handler
from convergence_sandbox.bigquery.sql.functions.zones import (
    CLOCK_PARTS,
    DATE_PARTS,
    FAMILIES,
    WEEKDAYS,
    civil_sql,
    date_part,
    family,
    moment_sql,
    temporal,
    zone_argument,
)
from convergence_sandbox.bigquery.sql.literals import literal
from convergence_sandbox.bigquery.sql.nodes import reject_extra
from convergence_sandbox.bigquery.sql.types import (
    DATE,
    DATETIME,
    INT64,
    INTERVAL,
    TIME,
    TIMESTAMP,
)

if TYPE_CHECKING:
    from convergence_sandbox.bigquery.sql.scope import Scope


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
    value, node = family(call), call.nodes[1]
    if not isinstance(node, exp.Interval) or isinstance(node.args.get("unit"), exp.IntervalSpan):
        raise invalid_query(f"{call.name} expects INTERVAL int64 date_part")
    part, _ = date_part(node.args["unit"])
    allowed = {
        "DATE": DATE_PARTS - {"ISOWEEK", "ISOYEAR"},
        "TIME": CLOCK_PARTS,
        "TIMESTAMP": CLOCK_PARTS | {"DAY"},
        "DATETIME": CLOCK_PARTS | DATE_PARTS - {"ISOWEEK", "ISOYEAR"},
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
    reject_extra(node, "this", "unit")
    unit = node.args.get("unit")
    if unit is None or isinstance(unit, exp.IntervalSpan):
        raise not_implemented("INTERVAL with several parts")
    part, _ = date_part(unit)
    if part in {"ISOWEEK", "ISOYEAR"}:
        raise invalid_query(f"Unsupported INTERVAL part {part}")
    count = _interval_count(compiler, node, scope)
    return combine(f"{_unit(part)}({count.sql})", INTERVAL, [count])


@handler("DATE_DIFF", "DATETIME_DIFF", "TIMESTAMP_DIFF", "TIME_DIFF")
def difference(call: Call) -> Expr:
    """Part boundaries between two moments (whole units for TIMESTAMP)."""
    call.check_count(3)
    one, other = call.arg(0), call.arg(1)
    kind = FAMILIES[call.name.split("_")[0]]
    if call.name == "DATE_DIFF" and {one.type, other.type} & {TIMESTAMP, DATETIME}:
        raise not_implemented("DATE_DIFF of TIMESTAMP or DATETIME")
    one, other = coerce(one, kind), coerce(other, kind)
    part, first = date_part(call.nodes[2])
    if kind == TIMESTAMP:
        return combine(_timestamp_diff(part, one, other), INT64, [one, other])
    if (kind == TIME and part not in CLOCK_PARTS) or (kind == DATE and part in CLOCK_PARTS):
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
    return (1 - WEEKDAYS.index(first or "SUNDAY")) % 7


@handler("DATE_TRUNC", "DATETIME_TRUNC", "TIMESTAMP_TRUNC", "TIME_TRUNC")
def truncate(call: Call) -> Expr:
    """Return the beginning of the part that a moment lies in."""
    call.check_count(2, 3 if call.name in {"TIMESTAMP_TRUNC", "DATETIME_TRUNC"} else 2)
    value = call.arg(0)
    if value.type not in {DATE, DATETIME, TIMESTAMP, TIME}:
        value = family(call)
    elif value.type != FAMILIES[call.name.split("_")[0]] and call.name == "TIME_TRUNC":
        raise call.mismatch([value])
    part, first = date_part(call.nodes[1])
    zone = zone_argument(call, 2)
    if value.type == TIMESTAMP:
        civil = _truncated(civil_sql(value, zone), part, first)
        return combine(moment_sql(f"CAST({civil} AS TIMESTAMP)", zone), TIMESTAMP, [value])
    if zone is not None:
        raise call.mismatch(call.args())
    if value.type == DATE and part in CLOCK_PARTS:
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
    """Return the last day of the part that a date lies in."""
    call.check_count(1, 2)
    value = temporal(call, 0, DATE, DATETIME)
    part, first = ("MONTH", None) if len(call.nodes) == 1 else date_part(call.nodes[1])
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
