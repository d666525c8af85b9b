"""Analytic functions: OVER with PARTITION BY, ORDER BY and frames.

https://cloud.google.com/bigquery/docs/reference/standard-sql/window-function-calls
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sqlglot import exp

from convergence_sandbox.bigquery.errors import invalid_query, not_implemented
from convergence_sandbox.bigquery.sql.coerce import coerce
from convergence_sandbox.bigquery.sql.expr import Expr
from convergence_sandbox.bigquery.sql.functions.aggregates import (
    AGGREGATES,
    aggregate,
    read_arguments,
)
from convergence_sandbox.bigquery.sql.functions.registry import Call
from convergence_sandbox.bigquery.sql.nodes import reject_extra
from convergence_sandbox.bigquery.sql.types import FLOAT64, INT64, SqlType

if TYPE_CHECKING:
    from convergence_sandbox.bigquery.sql.expressions import ExpressionCompiler
    from convergence_sandbox.bigquery.sql.scope import Scope


@dataclass(frozen=True, slots=True)
class _Over:
    sql: str
    parts: tuple[Expr, ...]
    ordered: bool


def window(compiler: ExpressionCompiler, node: exp.Expr, scope: Scope) -> Expr:
    """Compile `function(…) OVER (…)`."""
    if not scope.allow_windows:
        raise invalid_query(f"Analytic function not allowed in {scope.where}")
    call_node, nulls = node.this, None
    if isinstance(call_node, exp.IgnoreNulls | exp.RespectNulls):
        nulls = "IGNORE" if isinstance(call_node, exp.IgnoreNulls) else "RESPECT"
        call_node = call_node.this
    if not isinstance(call_node, exp.Anonymous):
        raise not_implemented(f"OVER after {call_node.sql('bigquery')}")
    inner = replace(scope, aliases={}, allow_windows=False, where="an analytic function argument")
    over = _over(compiler, node, inner)
    call = Call(str(call_node.this).upper(), tuple(call_node.expressions), inner, compiler)
    if call.name in AGGREGATES:
        if call.name == "STRING_AGG" and over.ordered:
            raise not_implemented("STRING_AGG as an analytic function with ORDER BY")
        return aggregate(call, over=over.sql, parts=over.parts)
    if call.name not in WINDOW_ONLY:
        raise not_implemented(f"analytic function {call.name}")
    return _window_call(call, over, nulls)


def _over(compiler: ExpressionCompiler, node: exp.Expr, scope: Scope) -> _Over:
    reject_extra(node, "this", "partition_by", "order", "spec", "alias", "over")
    named = node.args.get("alias")
    base: exp.Expr | None = None
    if named is not None:
        base = scope.windows.get(named.name.lower())
        if base is None:
            raise invalid_query(f"Unrecognized window alias {named.name}")
    return _over_sql(compiler, node, base, scope)


def _over_sql(
    compiler: ExpressionCompiler, node: exp.Expr, base: exp.Expr | None, scope: Scope
) -> _Over:
    from convergence_sandbox.bigquery.sql.select import direction

    def part(key: str) -> exp.Expr | list[exp.Expr] | None:
        value = node.args.get(key)
        return value or (base.args.get(key) if base is not None else None)

    pieces, parts = [], []
    keys = [compiler.expr(one, scope) for one in part("partition_by") or []]
    if keys:
        for one in keys:
            if one.type.element is not None or one.type.kind in {"STRUCT", "JSON", "FLOAT64"}:
                raise invalid_query(
                    f"Partitioning by expressions of type {one.type.kind} is not allowed"
                )
        pieces.append(f"PARTITION BY {', '.join(one.sql for one in keys)}")
        parts.extend(keys)
    order = part("order")
    if order is not None and not isinstance(order, list):
        ordered = [(compiler.expr(one.this, scope), direction(one)) for one in order.expressions]
        pieces.append("ORDER BY " + ", ".join(one.sql + way for one, way in ordered))
        parts.extend(one for one, _ in ordered)
    spec = part("spec")
    if spec is not None and not isinstance(spec, list):
        pieces.append(_frame(compiler, spec, scope))
    return _Over(f" OVER ({' '.join(pieces)})", tuple(parts), order is not None)


def _frame(compiler: ExpressionCompiler, spec: exp.Expr, scope: Scope) -> str:
    reject_extra(spec, "kind", "start", "start_side", "end", "end_side")
    kind = str(spec.args["kind"]).upper()
    start = _bound(compiler, spec.args.get("start"), spec.args.get("start_side"), scope)
    end = _bound(compiler, spec.args.get("end"), spec.args.get("end_side"), scope)
    if not spec.args.get("end"):
        return f"{kind} {start}"
    return f"{kind} BETWEEN {start} AND {end}"


def _bound(
    compiler: ExpressionCompiler, value: exp.Expr | str | None, side: str | None, scope: Scope
) -> str:
    if value is None or value == "CURRENT ROW":
        return "CURRENT ROW"
    if value == "UNBOUNDED":
        return f"UNBOUNDED {side}"
    if isinstance(value, str):
        raise not_implemented(f"window frame bound {value}")
    made = compiler.expr(value, scope)
    if not made.is_literal or not made.type.is_number:
        raise invalid_query("Window framing expression must be a literal or parameter")
    return f"{made.sql} {side}"


def _window_call(call: Call, over: _Over, nulls: str | None) -> Expr:
    args = read_arguments(call, call.scope)
    args.nulls = args.nulls or nulls
    args.reject(call.name, "DISTINCT", "ORDER BY", "LIMIT", "HAVING")
    needs_order, make = WINDOW_ONLY[call.name]
    if needs_order and not over.ordered:
        raise invalid_query(f"Window ORDER BY is required for analytic function {call.name}")
    sql, kind = make(call, args.values, " IGNORE NULLS" if args.nulls == "IGNORE" else "", over)
    every = (*args.values, *over.parts)
    return Expr(
        sql,
        kind,
        free=frozenset().union(*(one.free for one in every)),
        aggregates=any(one.aggregates for one in every),
        windows=True,
        constant=False,
    )


Make = Callable[[Call, list[Expr], str, _Over], tuple[str, SqlType]]


def _ranking(name: str, kind: SqlType) -> Make:
    def make(call: Call, values: list[Expr], _: str, over: _Over) -> tuple[str, SqlType]:
        if values:
            raise call.mismatch(values)
        return f"{name}(){over.sql}", kind

    return make


def _ntile(call: Call, values: list[Expr], _: str, over: _Over) -> tuple[str, SqlType]:
    if len(values) != 1:
        raise call.mismatch(values)
    return f"ntile({coerce(values[0], INT64).sql}){over.sql}", INT64


def _offset(call: Call, values: list[Expr], nulls: str, over: _Over) -> tuple[str, SqlType]:
    if not 1 <= len(values) <= 3 or nulls:
        raise call.mismatch(values)
    value = values[0]
    args = [value.sql]
    if len(values) > 1:
        args.append(coerce(values[1], INT64).sql)
    if len(values) > 2:
        args.append(coerce(values[2], value.type).sql)
    return f"{call.name.lower()}({', '.join(args)}){over.sql}", value.type


def _edge(call: Call, values: list[Expr], nulls: str, over: _Over) -> tuple[str, SqlType]:
    if len(values) != (2 if call.name == "NTH_VALUE" else 1):
        raise call.mismatch(values)
    args = [values[0].sql] + [coerce(one, INT64).sql for one in values[1:]]
    return f"{call.name.lower()}({', '.join(args)}{nulls}){over.sql}", values[0].type


def _percentile(call: Call, values: list[Expr], nulls: str, over: _Over) -> tuple[str, SqlType]:
    if len(values) != 2 or not values[1].is_literal:
        raise call.mismatch(values)
    if nulls == "" and over.ordered:
        raise invalid_query(f"Window ORDER BY is not allowed for analytic function {call.name}")
    fraction = coerce(values[1], FLOAT64).sql
    if call.name == "PERCENTILE_CONT":
        value = coerce(values[0], FLOAT64)
        return f"quantile_cont({value.sql}, {fraction}){over.sql}", FLOAT64
    return f"quantile_disc({values[0].sql}, {fraction}){over.sql}", values[0].type


# name -> (needs ORDER BY, how to write it)
WINDOW_ONLY: dict[str, tuple[bool, Make]] = {
    "ROW_NUMBER": (False, _ranking("row_number", INT64)),
    "RANK": (True, _ranking("rank", INT64)),
    "DENSE_RANK": (True, _ranking("dense_rank", INT64)),
    "PERCENT_RANK": (True, _ranking("percent_rank", FLOAT64)),
    "CUME_DIST": (True, _ranking("cume_dist", FLOAT64)),
    "NTILE": (True, _ntile),
    "LAG": (True, _offset),
    "LEAD": (True, _offset),
    "FIRST_VALUE": (True, _edge),
    "LAST_VALUE": (True, _edge),
    "NTH_VALUE": (True, _edge),
    "PERCENTILE_CONT": (False, _percentile),
    "PERCENTILE_DISC": (False, _percentile),
}
