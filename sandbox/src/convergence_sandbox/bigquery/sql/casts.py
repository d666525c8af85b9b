"""CAST and SAFE_CAST, and the types that SQL text declares.

https://cloud.google.com/bigquery/docs/reference/standard-sql/conversion_functions#cast
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from sqlglot import exp

from convergence_sandbox.bigquery.errors import BigQueryError, invalid_query, not_implemented
from convergence_sandbox.bigquery.sql.coerce import coerce, convert_sql, cost
from convergence_sandbox.bigquery.sql.expr import NO_LITERAL, Expr, combine, null_of
from convergence_sandbox.bigquery.sql.literals import literal, parse_text
from convergence_sandbox.bigquery.sql.types import FLOAT64, STRING, SqlType, array, named, struct

_NAMES = {
    exp.DType.BIGINT: "INT64",
    exp.DType.INT: "INT64",
    exp.DType.SMALLINT: "INT64",
    exp.DType.TINYINT: "INT64",
    exp.DType.DOUBLE: "FLOAT64",
    exp.DType.FLOAT: "FLOAT64",
    exp.DType.DECIMAL: "NUMERIC",
    exp.DType.BIGDECIMAL: "BIGNUMERIC",
    exp.DType.BOOLEAN: "BOOL",
    exp.DType.TEXT: "STRING",
    exp.DType.VARCHAR: "STRING",
    exp.DType.BINARY: "BYTES",
    exp.DType.VARBINARY: "BYTES",
    exp.DType.DATE: "DATE",
    exp.DType.TIME: "TIME",
    exp.DType.TIMESTAMP: "DATETIME",
    exp.DType.DATETIME: "DATETIME",
    exp.DType.TIMESTAMPTZ: "TIMESTAMP",
    exp.DType.JSON: "JSON",
    exp.DType.INTERVAL: "INTERVAL",
}


@dataclass(frozen=True, slots=True)
class Limits:
    """A type's parameters: STRING(10), NUMERIC(10, 2)."""

    numbers: tuple[int, ...] = ()


def declared_type(node: exp.Expr) -> tuple[SqlType, Limits]:
    """Return the type that SQL text names, with its parameters.

    Raises:
        BigQueryError: 501 for a type not done here.
    """
    if isinstance(node, exp.Interval):
        raise not_implemented("INTERVAL types")
    if node.this == exp.DType.ARRAY and len(node.expressions) == 1:
        return array(declared_type(node.expressions[0])[0]), Limits()
    if node.this == exp.DType.STRUCT:
        return struct([_declared_field(one) for one in node.expressions]), Limits()
    name = _NAMES.get(node.this)
    if name is None and node.this == exp.DType.USERDEFINED:
        raise invalid_query(f"Type not found: {node.args.get('kind')}")
    kind = named(name) if name is not None else None
    if kind is None:
        raise not_implemented(f"type {node.sql('bigquery')}")
    return kind, Limits(tuple(int(one.this.this) for one in node.expressions))


def _declared_field(node: exp.Expr) -> tuple[str | None, SqlType]:
    if isinstance(node, exp.ColumnDef):
        return node.name, declared_type(node.args["kind"])[0]
    return None, declared_type(node)[0]


# from -> to -> DuckDB template; `{safe}` is `safe_` for SAFE_CAST, whose functions give NULL.
_TEMPLATES: dict[str, dict[str, str]] = {
    "INT64": {
        "BOOL": "({0} <> 0)",
        "STRING": "CAST({0} AS VARCHAR)",
        "NUMERIC": "CAST({0} AS DECIMAL(38,9))",
        "BIGNUMERIC": "numeric_to_big(CAST({0} AS DECIMAL(38,9)))",
        "FLOAT64": "CAST({0} AS DOUBLE)",
    },
    "NUMERIC": {
        "INT64": "{safe}numeric_to_int({0})",
        "STRING": "numeric_text({0})",
        "BIGNUMERIC": "numeric_to_big({0})",
        "FLOAT64": "CAST({0} AS DOUBLE)",
    },
    "BIGNUMERIC": {
        "INT64": "{safe}big_to_int({0})",
        "STRING": "big_text({0})",
        "NUMERIC": "{safe}big_to_numeric({0})",
        "FLOAT64": "big_to_float({0})",
    },
    "FLOAT64": {
        "INT64": "{safe}float_to_int({0})",
        "STRING": "float_text({0})",
        "NUMERIC": "{safe}float_to_numeric({0})",
        "BIGNUMERIC": "{safe}float_to_big({0})",
    },
    "BOOL": {"INT64": "CAST({0} AS BIGINT)", "STRING": "CAST({0} AS VARCHAR)"},
    "STRING": {
        "INT64": "{safe}text_to_int({0})",
        "FLOAT64": "{safe}text_to_float({0})",
        "NUMERIC": "{safe}text_to_numeric({0})",
        "BIGNUMERIC": "{safe}text_to_big({0})",
        "BOOL": "{safe}text_to_bool({0})",
        "BYTES": "encode({0})",
        "DATE": "{safe}text_to_date({0})",
        "TIME": "{safe}text_to_time({0})",
        "DATETIME": "{safe}text_to_datetime({0})",
        "TIMESTAMP": "{safe}text_to_timestamp({0})",
    },
    "BYTES": {"STRING": "{safe}bytes_to_text({0})"},
    "DATE": {
        "STRING": "strftime({0}, '%Y-%m-%d')",
        "DATETIME": "CAST({0} AS TIMESTAMP)",
        "TIMESTAMP": "CAST({0} AS TIMESTAMPTZ)",
    },
    "TIME": {"STRING": "time_text({0})"},
    "DATETIME": {
        "STRING": "datetime_text({0})",
        "DATE": "CAST({0} AS DATE)",
        "TIME": "CAST({0} AS TIME)",
        "TIMESTAMP": "CAST({0} AS TIMESTAMPTZ)",
    },
    "TIMESTAMP": {
        "STRING": "(datetime_text(CAST({0} AS TIMESTAMP)) || '+00')",
        "DATE": "CAST(CAST({0} AS TIMESTAMP) AS DATE)",
        "TIME": "CAST(CAST({0} AS TIMESTAMP) AS TIME)",
        "DATETIME": "CAST({0} AS TIMESTAMP)",
    },
    "INTERVAL": {},
    "JSON": {},
}
# Conversions that keep the order of moments, so that a filter on the result still prunes.
_MONOTONE = {"DATE", "DATETIME", "TIMESTAMP"}


def cast(
    value: Expr,
    kind: SqlType,
    *,
    safe: bool,
    limits: Limits | None = None,
    form: Expr | None = None,
    exact: bool = False,
) -> Expr:
    """CAST (or SAFE_CAST) of a value to a type.

    Raises:
        BigQueryError: 400 when there is no such conversion, or a literal does not convert; 501
            for FORMAT and for parameters of the type that are not done here.
    """
    del exact
    if form is not None:
        raise not_implemented("CAST with FORMAT")
    if limits is not None and limits.numbers:
        raise not_implemented(f"CAST to {kind} with type parameters")
    if value.untyped_null:
        return null_of(kind)
    if value.type == kind:
        return _explicit(value)
    if kind.kind in {"ARRAY", "STRUCT"} and cost(value, kind) is not None:
        return _coerced(value, kind)
    if value.is_literal and value.type == STRING and value.literal is not None:
        return _cast_text(value, kind, safe=safe)
    made = combine(_cast_sql(value.sql, value.type, kind, safe=safe), kind, [value])
    if value.type.kind in _MONOTONE and kind.kind in _MONOTONE:
        made = replace(made, origins=value.origins)
    return made


def _coerced(value: Expr, kind: SqlType) -> Expr:
    if value.literal == []:
        return literal([], kind)
    return coerce(value, kind)


def _explicit(value: Expr) -> Expr:
    """Return a value whose type was requested: it no longer coerces as a bare literal does."""
    return replace(value, literal=NO_LITERAL) if value.type in {STRING, FLOAT64} else value


def _cast_text(value: Expr, kind: SqlType, *, safe: bool) -> Expr:
    if kind.kind not in _TEMPLATES["STRING"]:
        raise _no_cast(value.type, kind)
    try:
        return _explicit(literal(parse_text(value.literal, kind), kind))
    except BigQueryError:
        if safe:
            return null_of(kind)
        raise


def _cast_sql(sql: str, old: SqlType, new: SqlType, *, safe: bool) -> str:
    if old == new:
        return sql
    if old.kind == new.kind and old.kind in {"ARRAY", "STRUCT"}:
        return _cast_nested(sql, old, new)
    template = _TEMPLATES.get(old.kind, {}).get(new.kind)
    if template is None:
        raise _no_cast(old, new)
    return template.format(sql, safe="safe_" if safe else "")


def _cast_nested(sql: str, old: SqlType, new: SqlType) -> str:
    """Arrays and structs whose parts convert implicitly, or differ in field names only."""
    if old.kind == "STRUCT" and len(old.fields) != len(new.fields):
        raise _no_cast(old, new)
    pairs = zip(old.fields, new.fields, strict=True) if old.kind == "STRUCT" else ()
    kinds = [(one, other) for (_, one), (_, other) in pairs]
    if old.element is not None and new.element is not None:
        kinds = [(old.element, new.element)]
    for one, other in kinds:
        if one.kind != other.kind and not (one.is_number and other.is_number):
            raise not_implemented(f"CAST of {old} to {new}")
    return convert_sql(sql, old, new)


def _no_cast(old: SqlType, new: SqlType) -> BigQueryError:
    return invalid_query(f"Invalid cast from {old} to {new}")
