"""The present moment, and dates and times made from others.

https://cloud.google.com/bigquery/docs/reference/standard-sql/timestamp_functions and its kin.
"""

from __future__ import annotations

import datetime as dt

from convergence_sandbox.bigquery.errors import not_implemented
from convergence_sandbox.bigquery.rows.values import EPOCH
from convergence_sandbox.bigquery.sql.coerce import coerce
from convergence_sandbox.bigquery.sql.expr import Expr, combine
from convergence_sandbox.bigquery.sql.functions.registry import Call, define, handler
from convergence_sandbox.bigquery.sql.functions.zones import (
    civil_sql,
    moment_sql,
    temporal,
    zone_argument,
)
from convergence_sandbox.bigquery.sql.literals import literal
from convergence_sandbox.bigquery.sql.types import (
    DATE,
    DATETIME,
    INT64,
    STRING,
    TIME,
    TIMESTAMP,
)

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


@handler("CURRENT_TIMESTAMP", "CURRENT_DATETIME", "CURRENT_DATE", "CURRENT_TIME")
def current(call: Call) -> Expr:
    """Return the moment the query began, in a zone for civil results."""
    call.check_count(0, 0 if call.name == "CURRENT_TIMESTAMP" else 1)
    micros = call.compiler.now_micros
    if call.name == "CURRENT_TIMESTAMP":
        return literal(micros, TIMESTAMP)
    kind = {"CURRENT_DATETIME": DATETIME, "CURRENT_DATE": DATE, "CURRENT_TIME": TIME}[call.name]
    moment = literal(micros, TIMESTAMP)
    zone = zone_argument(call, 0)
    sql = f"CAST({civil_sql(moment, zone)} AS {kind.duck})"
    if zone is not None:
        return combine(sql, kind, [moment, call.arg(0)])
    civil = (EPOCH + dt.timedelta(microseconds=micros)).replace(tzinfo=None)
    value = {DATE: civil.date(), TIME: civil.time(), DATETIME: civil}[kind]
    return literal(value, kind)


@handler("DATE")
def date(call: Call) -> Expr:
    """DATE(year, month, day), DATE(timestamp[, zone]), DATE(datetime)."""
    call.check_count(1, 3)
    if len(call.nodes) == 3:
        parts = [coerce(one, INT64) for one in call.args()]
        return combine(f"make_date_checked({', '.join(one.sql for one in parts)})", DATE, parts)
    value = temporal(call, 0, TIMESTAMP, DATETIME, DATE)
    zone = zone_argument(call, 1)
    if value.type != TIMESTAMP:
        if zone is not None:
            raise call.mismatch(call.args())
        return combine(f"CAST({value.sql} AS DATE)", DATE, [value])
    return combine(f"CAST({civil_sql(value, zone)} AS DATE)", DATE, [value])


@handler("DATETIME")
def datetime(call: Call) -> Expr:
    """DATETIME(six parts), DATETIME(date[, time]), DATETIME(timestamp[, zone])."""
    if len(call.nodes) == 6:
        parts = [coerce(one, INT64) for one in call.args()]
        listed = ", ".join(one.sql for one in parts)
        return combine(f"make_datetime_checked({listed})", DATETIME, parts)
    call.check_count(1, 2)
    value = temporal(call, 0, TIMESTAMP, DATETIME, DATE)
    if value.type == TIMESTAMP:
        return combine(civil_sql(value, zone_argument(call, 1)), DATETIME, [value])
    if len(call.nodes) == 2:
        clock = coerce(call.arg(1), TIME)
        return combine(f"(CAST({value.sql} AS DATE) + {clock.sql})", DATETIME, [value, clock])
    return combine(f"CAST({value.sql} AS TIMESTAMP)", DATETIME, [value])


@handler("TIMESTAMP")
def timestamp(call: Call) -> Expr:
    """TIMESTAMP(string|date|datetime[, zone])."""
    call.check_count(1, 2)
    value, zone = call.arg(0), zone_argument(call, 1)
    if value.type == STRING:
        sql = f"text_to_timestamp_in({value.sql}, {zone or chr(39) + 'UTC' + chr(39)})"
        if value.is_literal and zone is None and value.literal is not None:
            return coerce(value, TIMESTAMP)
        return combine(sql, TIMESTAMP, [value])
    value = temporal(call, 0, TIMESTAMP, DATETIME, DATE)
    if value.type == TIMESTAMP:
        if zone is not None:
            raise call.mismatch(call.args())
        return value
    return combine(moment_sql(f"CAST({value.sql} AS TIMESTAMP)", zone), TIMESTAMP, [value])


@handler("TIME")
def time(call: Call) -> Expr:
    """TIME(hour, minute, second), TIME(timestamp[, zone]), TIME(datetime)."""
    call.check_count(1, 3)
    if len(call.nodes) == 3:
        parts = [coerce(one, INT64) for one in call.args()]
        return combine(f"make_time_checked({', '.join(one.sql for one in parts)})", TIME, parts)
    value = temporal(call, 0, TIMESTAMP, DATETIME)
    sql = value.sql if value.type == DATETIME else civil_sql(value, zone_argument(call, 1))
    return combine(f"CAST({sql} AS TIME)", TIME, [value])


@handler("STRING")
def string(call: Call) -> Expr:
    """STRING(timestamp[, zone]), and of the other moments; STRING(json)."""
    from convergence_sandbox.bigquery.sql.casts import cast

    call.check_count(1, 2)
    value = call.arg(0)
    if value.type.kind == "JSON":
        return combine(f"json_as_string({value.sql})", STRING, [value])
    if value.type not in {TIMESTAMP, DATE, DATETIME, TIME}:
        raise call.mismatch([value])
    if len(call.nodes) == 2:
        raise not_implemented("STRING(timestamp, zone)")
    return cast(value, STRING, safe=False)
