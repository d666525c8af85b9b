"""Date parts and time zones as arguments, and civil times in a zone."""

from __future__ import annotations

from sqlglot import exp

from convergence_sandbox.bigquery.errors import invalid_query, not_implemented
from convergence_sandbox.bigquery.rows.values import zone
from convergence_sandbox.bigquery.sql.coerce import coerce, cost
from convergence_sandbox.bigquery.sql.expr import Expr
from convergence_sandbox.bigquery.sql.functions.registry import Call
from convergence_sandbox.bigquery.sql.types import (
    DATE,
    DATETIME,
    STRING,
    TIME,
    TIMESTAMP,
    SqlType,
)

CLOCK_PARTS = {"MICROSECOND", "MILLISECOND", "SECOND", "MINUTE", "HOUR"}
DATE_PARTS = {"DAY", "WEEK", "ISOWEEK", "MONTH", "QUARTER", "YEAR", "ISOYEAR"}
WEEKDAYS = ("SUNDAY", "MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY")


def date_part(node: exp.Expr) -> tuple[str, str | None]:
    """Return a date part and, for WEEK(MONDAY), its first weekday."""
    if isinstance(node, exp.Anonymous) and str(node.this).upper() == "WEEK":
        if len(node.expressions) == 1 and node.expressions[0].name.upper() in WEEKDAYS:
            return "WEEK", node.expressions[0].name.upper()
        raise invalid_query(
            f"A valid date part argument for WEEK is required, but found {node.sql('bigquery')}"
        )
    name = node.name.upper() if isinstance(node, exp.Column | exp.Var | exp.Identifier) else ""
    if name not in CLOCK_PARTS | DATE_PARTS | {"DAYOFWEEK", "DAYOFYEAR", "DATE", "TIME"}:
        raise invalid_query(f"A valid date part name is required but found {node.sql('bigquery')}")
    return name, "SUNDAY" if name == "WEEK" else None


def zone_argument(call: Call, index: int) -> str | None:
    """Return the time zone argument's SQL, when there is one."""
    if len(call.nodes) <= index:
        return None
    return zone_sql(call.arg(index))


def zone_sql(value: Expr) -> str:
    """Return the SQL of a time zone's name; a literal one is checked now."""
    value = coerce(value, STRING)
    if value.is_literal and value.literal is not None:
        try:
            zone(value.literal)
        except ValueError as error:
            raise invalid_query(str(error)) from None
        if value.literal[0] in "+-":
            raise not_implemented("time zones given as an offset")
    return value.sql


def civil_sql(value: Expr, zone: str | None) -> str:
    """Return a TIMESTAMP as the civil time of a zone."""
    if zone in {None, "'UTC'"}:
        return f"CAST({value.sql} AS TIMESTAMP)"
    return f"timezone({zone}, {value.sql})"


def moment_sql(sql: str, zone: str | None) -> str:
    """Return a civil time of a zone as a TIMESTAMP."""
    if zone in {None, "'UTC'"}:
        return f"CAST({sql} AS TIMESTAMPTZ)"
    return f"timezone({zone}, {sql})"


def temporal(call: Call, index: int, *kinds: SqlType) -> Expr:
    """Return an argument as the first of these types that it coerces to."""
    made = call.arg(index)
    ranked = [(cost(made, kind), kind) for kind in kinds]
    fitting = [(score, kind) for score, kind in ranked if score is not None]
    if not fitting:
        raise call.mismatch([made])
    return coerce(made, min(fitting, key=lambda one: one[0])[1])


FAMILIES = {"DATE": DATE, "DATETIME": DATETIME, "TIMESTAMP": TIMESTAMP, "TIME": TIME}


def family(call: Call, index: int = 0) -> Expr:
    """Return the first argument as the type the function is named after.

    DATE_TRUNC and its like take any moment; the rest take their own type.
    """
    return coerce(call.arg(index), FAMILIES[call.name.split("_")[0]])
