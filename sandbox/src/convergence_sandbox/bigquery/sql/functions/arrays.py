"""Arrays and structs: constructors, subscripts, array functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from sqlglot import exp

from convergence_sandbox.bigquery.errors import invalid_query, not_implemented
from convergence_sandbox.bigquery.sql.coerce import coerce, unify
from convergence_sandbox.bigquery.sql.expr import Expr, combine
from convergence_sandbox.bigquery.sql.functions.registry import Call, Compiler, define, handler
from convergence_sandbox.bigquery.sql.literals import literal_sql
from convergence_sandbox.bigquery.sql.nodes import dotted_parts, reject_extra
from convergence_sandbox.bigquery.sql.types import (
    BYTES,
    DATE,
    INT64,
    INTERVAL,
    STRING,
    TIMESTAMP,
    SqlType,
    array,
    quote,
    stored_names,
    struct,
)

if TYPE_CHECKING:
    from convergence_sandbox.bigquery.sql.scope import Scope

define(
    {
        "ARRAY_TO_STRING": "ARRAY<STRING>, STRING, STRING? -> STRING: array_text({0}, {1}, {2})",
        "GENERATE_ARRAY": "INT64, INT64, INT64? -> ARRAY<INT64>:"
        " number_range({0}, {1}, coalesce({2}, 1))",
    }
)


def struct_sql(kind: SqlType, parts: Sequence[Expr]) -> str:
    """Return the DuckDB struct of these values."""
    fields = ", ".join(
        f"{quote(name)} := {one.sql}" for name, one in zip(stored_names(kind), parts, strict=True)
    )
    return f"struct_pack({fields})"


def make_struct(compiler: Compiler, nodes: Sequence[exp.Expr], scope: Scope) -> Expr:
    """STRUCT(a, b AS name) and the tuple (a, b)."""
    names: list[str | None] = []
    parts = []
    for node in nodes:
        inner = node.this if isinstance(node, exp.Alias) else node
        parts.append(compiler.expr(inner, scope))
        if isinstance(node, exp.Alias):
            names.append(node.alias)
        else:
            dotted = dotted_parts(inner) if isinstance(inner, exp.Column | exp.Dot) else []
            names.append(dotted[-1] if dotted else None)
    return _struct_of(struct(list(zip(names, [one.type for one in parts], strict=True))), parts)


def typed_struct(
    compiler: Compiler, nodes: Sequence[exp.Expr], kind: SqlType, scope: Scope
) -> Expr:
    """STRUCT<a INT64, b STRING>(1, 'x')."""
    if len(nodes) != len(kind.fields):
        raise invalid_query(
            f"STRUCT type has {len(kind.fields)} fields but constructor call has"
            f" {len(nodes)} fields"
        )
    parts = [
        coerce(compiler.expr(node, scope), one)
        for node, (_, one) in zip(nodes, kind.fields, strict=True)
    ]
    return _struct_of(kind, parts)


def _struct_of(kind: SqlType, parts: Sequence[Expr]) -> Expr:
    made = combine(struct_sql(kind, parts), kind, parts)
    if parts and all(one.is_literal and not one.untyped_null for one in parts):
        values = [one.literal for one in parts]
        return replace(made, sql=literal_sql(values, kind), literal=values)
    return made


@handler("STRUCT")
def struct_call(call: Call) -> Expr:
    """STRUCT(…) as a call."""
    return make_struct(call.compiler, call.nodes, call.scope)


def subscript(compiler: Compiler, node: exp.Expr, scope: Scope) -> Expr:
    """`array[OFFSET(0)]`, `array[SAFE_ORDINAL(1)]`, `json['key']`, `struct[0]`."""
    reject_extra(node, "this", "expressions", "offset", "safe")
    if len(node.expressions) != 1:
        raise not_implemented(f"subscript {node.sql('bigquery')}")
    base = compiler.expr(node.this, scope)
    index = compiler.expr(node.expressions[0], scope)
    if base.type.kind == "JSON":
        if index.type not in {INT64, STRING}:
            raise invalid_query("JSON subscript must be INT64 or STRING")
        sql = f"json_at({base.sql}, CAST({index.sql} AS VARCHAR))"
        if index.type == INT64:
            sql = f"json_nth({base.sql}, {index.sql})"
        return combine(sql, base.type, [base, index])
    if base.type.element is None:
        raise invalid_query(
            f"Element access using [] is not supported on values of type {base.type}"
        )
    index = coerce(index, INT64)
    first = 1 if node.args.get("offset") == 1 else 0
    shift = f"({index.sql} + 1)" if first == 0 else index.sql
    name = "array_safe_at" if node.args.get("safe") else "array_at"
    return combine(f"{name}({base.sql}, {shift})", base.type.element, [base, index])


def _array_arg(call: Call, index: int = 0) -> tuple[Expr, SqlType]:
    made = call.arg(index)
    if made.type.element is None:
        raise call.mismatch([made])
    return made, made.type.element


@handler("ARRAY_LENGTH", safe=True)
def array_length(call: Call) -> Expr:
    """ARRAY_LENGTH(array)."""
    call.check_count(1)
    made, _ = _array_arg(call)
    return combine(f"len({made.sql})", INT64, [made])


@handler("ARRAY_REVERSE", safe=True)
def array_reverse(call: Call) -> Expr:
    """ARRAY_REVERSE(array)."""
    call.check_count(1)
    made, _ = _array_arg(call)
    return combine(f"list_reverse({made.sql})", made.type, [made])


@handler("ARRAY_CONCAT", safe=True)
def array_concat(call: Call) -> Expr:
    """ARRAY_CONCAT(array, …): NULL when one is NULL."""
    call.check_count(1, 1000)
    values, kind = unify(call.args(), what="function ARRAY_CONCAT")
    if kind.element is None:
        raise call.mismatch(values)
    sql = values[0].sql
    for one in values[1:]:
        sql = f"array_join({sql}, {one.sql})"
    return combine(sql, kind, values)


@handler("ARRAY_FIRST", "ARRAY_LAST")
def array_end(call: Call) -> Expr:
    """ARRAY_FIRST and ARRAY_LAST; an error for an empty array."""
    call.check_count(1)
    made, element = _array_arg(call)
    place = "1" if call.name == "ARRAY_FIRST" else f"greatest(len({made.sql}), 1)"
    return combine(f"array_at({made.sql}, {place})", element, [made])


@handler("ARRAY_INCLUDES")
def array_includes(call: Call) -> Expr:
    """ARRAY_INCLUDES(array, value)."""
    from convergence_sandbox.bigquery.sql.types import BOOL

    call.check_count(2)
    made, element = _array_arg(call)
    value = coerce(call.arg(1), element)
    return combine(f"list_contains({made.sql}, {value.sql})", BOOL, [made, value])


@handler("GENERATE_DATE_ARRAY", "GENERATE_TIMESTAMP_ARRAY")
def generate_moments(call: Call) -> Expr:
    """Dates or timestamps from first to last, by an interval."""
    call.check_count(2 if call.name == "GENERATE_DATE_ARRAY" else 3, 3)
    kind = DATE if call.name == "GENERATE_DATE_ARRAY" else TIMESTAMP
    first, last = coerce(call.arg(0), kind), coerce(call.arg(1), kind)
    parts = [first, last]
    step = "INTERVAL 1 DAY"
    if len(call.nodes) == 3:
        interval = call.arg(2)
        if interval.type != INTERVAL:
            raise call.mismatch([first, last, interval])
        step = interval.sql
        parts.append(interval)
    sql = f"generate_series({first.sql}, {last.sql}, {step})"
    if kind == DATE:
        sql = (
            f"list_transform(generate_series(CAST({first.sql} AS TIMESTAMP),"
            f" CAST({last.sql} AS TIMESTAMP), {step}), lambda d: CAST(d AS DATE))"
        )
    return combine(sql, array(kind), parts)


@handler("CONCAT", safe=True)
def concat(call: Call) -> Expr:
    """CONCAT of strings or bytes: NULL when one is NULL."""
    call.check_count(1, 1000)
    values = call.args()
    kind = BYTES if any(one.type == BYTES for one in values) else STRING
    made = []
    for one in values:
        if one.type not in {STRING, BYTES} and not one.untyped_null:
            raise call.mismatch(values)
        made.append(coerce(one, kind))
    return combine(f"({' || '.join(one.sql for one in made)})", kind, made)
