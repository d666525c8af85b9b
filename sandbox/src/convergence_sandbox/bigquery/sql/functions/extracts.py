"""Parts of moments, and moments as text.

https://cloud.google.com/bigquery/docs/reference/standard-sql/timestamp_functions and its kin.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from sqlglot import exp

from convergence_sandbox.bigquery.errors import invalid_query
from convergence_sandbox.bigquery.sql.coerce import coerce
from convergence_sandbox.bigquery.sql.expr import Expr, combine
from convergence_sandbox.bigquery.sql.functions.registry import Call, Compiler, handler
from convergence_sandbox.bigquery.sql.functions.zones import (
    CLOCK_PARTS,
    FAMILIES,
    WEEKDAYS,
    civil_sql,
    date_part,
    zone_argument,
    zone_sql,
)
from convergence_sandbox.bigquery.sql.nodes import reject_extra
from convergence_sandbox.bigquery.sql.types import (
    DATE,
    DATETIME,
    INT64,
    STRING,
    TIME,
    TIMESTAMP,
    SqlType,
)

if TYPE_CHECKING:
    from convergence_sandbox.bigquery.sql.scope import Scope

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
    reject_extra(node, "this", "expression")
    part, first = date_part(node.this)
    inner, zone = node.args["expression"], None
    if isinstance(inner, exp.AtTimeZone):
        zone = zone_sql(compiler.expr(inner.args["zone"], scope))
        inner = inner.this
    value = compiler.expr(inner, scope)
    if value.type not in {DATE, DATETIME, TIMESTAMP, TIME}:
        raise invalid_query(f"EXTRACT does not support arguments of type {value.type}")
    if zone is not None and value.type != TIMESTAMP:
        raise invalid_query(f"EXTRACT from {value.type} does not support AT TIME ZONE")
    civil = civil_sql(value, zone) if value.type == TIMESTAMP else value.sql
    if part in {"DATE", "TIME"}:
        kind = DATE if part == "DATE" else TIME
        return combine(f"CAST({civil} AS {kind.duck})", kind, [value])
    if (value.type == DATE and part in CLOCK_PARTS) or (
        value.type == TIME and part not in CLOCK_PARTS
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
        return f"week_of_year({civil}, {WEEKDAYS.index(first or 'SUNDAY')})"
    return f"date_part('{_EXTRACTS[part]}', {civil})"


@handler("FORMAT_DATE", "FORMAT_DATETIME", "FORMAT_TIMESTAMP", "FORMAT_TIME")
def form(call: Call) -> Expr:
    """FORMAT_TIMESTAMP(format, moment[, zone]) and its kin."""
    call.check_count(2, 3 if call.name == "FORMAT_TIMESTAMP" else 2)
    pattern = coerce(call.arg(0), STRING)
    kind = FAMILIES[call.name.split("_")[1]]
    value = coerce(call.arg(1), kind)
    zone = zone_argument(call, 2)
    zone_text = zone or "'UTC'"
    civil = civil_sql(value, zone) if kind == TIMESTAMP else value.sql
    if kind == TIME:
        civil = f"(DATE '1970-01-01' + {civil})"
    sql = f"format_moment({pattern.sql}, CAST({civil} AS TIMESTAMP), '{kind.kind}', {zone_text})"
    native = _native_format(pattern, kind)
    if native is not None:
        sql = f"strftime(CAST({civil} AS TIMESTAMP), '{native}')"
    return combine(sql, STRING, [pattern, value])


_PLAIN = {"%Y", "%m", "%d", "%H", "%M", "%S", "%%", "%y", "%j"}


def _native_format(pattern: Expr, kind: SqlType) -> str | None:
    """Return the pattern for DuckDB's strftime, when it means the same there."""
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
    kind = FAMILIES[call.name.split("_")[1]]
    zone = zone_argument(call, 2) or "'UTC'"
    name = call.udf("parse_moment")
    micros = f"{name}({pattern.sql}, {value.sql}, '{kind.kind}', {zone})"
    sql = f"micros_timestamp({micros})"
    if kind != TIMESTAMP:
        sql = f"CAST(CAST({sql} AS TIMESTAMP) AS {kind.duck})"
    return replace(combine(sql, kind, [pattern, value]))
