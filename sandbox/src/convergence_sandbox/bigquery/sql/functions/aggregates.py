"""Aggregate functions, with DISTINCT, IGNORE NULLS, ORDER BY, LIMIT and HAVING MAX inside.

https://cloud.google.com/bigquery/docs/reference/standard-sql/aggregate_functions
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from sqlglot import exp

from convergence_sandbox.bigquery.errors import invalid_query, not_implemented
from convergence_sandbox.bigquery.sql.coerce import coerce
from convergence_sandbox.bigquery.sql.expr import Expr
from convergence_sandbox.bigquery.sql.functions.registry import Call
from convergence_sandbox.bigquery.sql.nodes import reject_extra
from convergence_sandbox.bigquery.sql.scope import Scope
from convergence_sandbox.bigquery.sql.types import (
    BIGNUMERIC,
    BOOL,
    BYTES,
    FLOAT64,
    INT64,
    NUMERIC,
    STRING,
    SqlType,
    array,
)


@dataclass(slots=True)
class Arguments:
    """An aggregate's args, its modifiers taken off.

    Attributes:
        values: the compiled args.
        distinct: `DISTINCT` was written.
        nulls: `IGNORE` or `RESPECT` when written.
        order: DuckDB `ORDER BY` text, or empty.
        limit: the LIMIT, or None.
        over: text appended for a window, ` OVER (…)`.
    """

    values: list[Expr]
    distinct: bool = False
    nulls: str | None = None
    order: str = ""
    limit: int | None = None
    having: tuple[str, Expr] | None = None
    over: str = ""
    exact: bool = False

    def call(self, name: str, *values: str, order: str = "", where: str = "") -> str:
        """Return a DuckDB aggregate call with this call's DISTINCT, filter and window."""
        distinct = "DISTINCT " if self.distinct else ""
        filtered = f" FILTER (WHERE {where})" if where else ""
        return f"{name}({distinct}{', '.join(values)}{order}){filtered}{self.over}"

    def reject(self, name: str, *parts: str) -> None:
        """Reject modifiers that the function does not take."""
        written = {
            "DISTINCT": self.distinct,
            "NULLS": self.nulls,
            "ORDER BY": self.order,
            "LIMIT": self.limit is not None,
            "HAVING": self.having is not None,
        }
        for part in parts:
            if written[part]:
                raise invalid_query(f"{part} is not supported in args to function {name}")


def read_arguments(call: Call, scope: Scope, *, over: str = "") -> Arguments:
    """Take the modifiers off the args and compile them."""
    made = Arguments([], over=over, exact=call.compiler.exact)
    for node in call.nodes:
        inner = _strip(node, made, call, scope)
        if isinstance(inner, exp.Distinct):
            reject_extra(inner, "expressions")
            made.distinct = True
            made.values.extend(call.compiler.expr(one, scope) for one in inner.expressions)
        elif not isinstance(inner, exp.Star):
            made.values.append(call.compiler.expr(inner, scope))
    return made


def _strip(node: exp.Expr, made: Arguments, call: Call, scope: Scope) -> exp.Expr:
    """Take LIMIT, ORDER BY, IGNORE NULLS and HAVING MAX off an argument, in any nesting."""
    from convergence_sandbox.bigquery.sql.select import direction

    while True:
        if isinstance(node, exp.Limit):
            value = call.compiler.expr(node.expression, scope)
            made.limit = int(value.literal if value.is_literal else -1)
            node = node.this
        elif isinstance(node, exp.Order):
            keys = [
                call.compiler.expr(one.this, scope).sql + direction(one) for one in node.expressions
            ]
            made.order = f" ORDER BY {', '.join(keys)}"
            node = node.this
        elif isinstance(node, exp.IgnoreNulls | exp.RespectNulls):
            made.nulls = "IGNORE" if isinstance(node, exp.IgnoreNulls) else "RESPECT"
            node = node.this
        elif isinstance(node, exp.HavingMax):
            keyword = "max" if node.args.get("max") else "min"
            made.having = (keyword, call.compiler.expr(node.expression, scope))
            node = node.this
        else:
            return node


def aggregate(call: Call, *, over: str = "", parts: tuple[Expr, ...] = ()) -> Expr:
    """Compile an aggregate call; `over` makes it analytic, `parts` are its window's keys."""
    scope = call.scope
    if not over and not scope.allow_aggregates:
        raise invalid_query(f"Aggregate function {call.name} not allowed in {scope.where}")
    inner = replace(scope, aliases={})
    if not over:
        inner = replace(
            inner,
            group_keys=None,
            allow_aggregates=False,
            allow_windows=False,
            where="an aggregate function argument",
        )
    if call.safe:
        raise not_implemented(f"SAFE.{call.name}")
    args = read_arguments(call, inner, over=over)
    if len(call.nodes) == 1 and isinstance(call.nodes[0], exp.Star) and call.name != "COUNT":
        raise invalid_query(f"Argument * can only be used in COUNT(*), not in {call.name}")
    sql, kind = AGGREGATES[call.name](call, args)
    if not over:
        return Expr(sql, kind, aggregates=True, constant=False)
    free = frozenset().union(*(one.free for one in (*args.values, *parts)))
    nested = any(one.aggregates for one in (*args.values, *parts))
    return Expr(sql, kind, free=free, aggregates=nested, windows=True, constant=False)


Made = tuple[str, SqlType]


def _one(call: Call, args: Arguments) -> Expr:
    if len(args.values) != 1:
        raise invalid_query(
            f"Number of args does not match for aggregate function"
            f" {call.name}: 1 expected, {len(args.values)} given"
        )
    return args.values[0]


def _count(call: Call, args: Arguments) -> Made:
    args.reject("COUNT", "NULLS", "ORDER BY", "LIMIT", "HAVING")
    if not args.values:
        return f"count(*){args.over}", INT64
    return args.call("count", _one(call, args).sql), INT64


def _countif(call: Call, args: Arguments) -> Made:
    args.reject("COUNTIF", "NULLS", "ORDER BY", "LIMIT", "HAVING")
    value = _one(call, args)
    if value.type != BOOL:
        raise call.mismatch([value])
    # DuckDB's count_if is NULL without rows; BigQuery's COUNTIF is 0.
    return args.call("count", f"CASE WHEN {value.sql} THEN TRUE END"), INT64


def _sum(call: Call, args: Arguments) -> Made:
    args.reject("SUM", "NULLS", "ORDER BY", "LIMIT", "HAVING")
    value = _one(call, args)
    if value.type == INT64:
        return f"CAST({args.call('sum', value.sql)} AS BIGINT)", INT64
    if value.type == FLOAT64:
        return args.call("sum", value.sql), FLOAT64
    if value.type == NUMERIC:
        return args.call("sum", value.sql), NUMERIC
    if value.type == BIGNUMERIC:
        return f"big_checked({args.call('sum', value.sql)})", BIGNUMERIC
    raise call.mismatch([value])


def _avg(call: Call, args: Arguments) -> Made:
    from convergence_sandbox.bigquery.sql.numeric import numeric_average

    args.reject("AVG", "NULLS", "ORDER BY", "LIMIT", "HAVING")
    value = _one(call, args)
    if value.type in {INT64, FLOAT64}:
        return args.call("avg", value.sql), FLOAT64
    total, count = args.call("sum", value.sql), args.call("count", value.sql)
    if value.type == NUMERIC:
        return numeric_average(total, count, exact=args.exact), NUMERIC
    if value.type == BIGNUMERIC:
        divisor = f"numeric_to_big(CAST(nullif({count}, 0) AS DECIMAL(38,9)))"
        return f"big_div({total}, {divisor})", BIGNUMERIC
    raise call.mismatch([value])


def _extreme(call: Call, args: Arguments) -> Made:
    args.reject(call.name, "NULLS", "ORDER BY", "LIMIT", "HAVING")
    value = _one(call, args)
    if value.type.element is not None or value.type.kind in {"STRUCT", "JSON"}:
        raise call.mismatch([value])
    return args.call(call.name.lower(), value.sql), value.type


def _any_value(call: Call, args: Arguments) -> Made:
    args.reject("ANY_VALUE", "DISTINCT", "NULLS", "ORDER BY", "LIMIT")
    value = _one(call, args)
    if args.having is not None:
        keyword, key = args.having
        return args.call(f"arg_{keyword}_null", value.sql, key.sql), value.type
    return args.call("any_value", value.sql), value.type


def _by(call: Call, args: Arguments) -> Made:
    args.reject(call.name, "DISTINCT", "NULLS", "ORDER BY", "LIMIT", "HAVING")
    if len(args.values) != 2:
        raise call.mismatch(args.values)
    value, key = args.values
    return args.call(f"arg_{call.name[:3].lower()}_null", value.sql, key.sql), value.type


def _logical(call: Call, args: Arguments) -> Made:
    args.reject(call.name, "DISTINCT", "NULLS", "ORDER BY", "LIMIT", "HAVING")
    value = coerce(_one(call, args), BOOL)
    return args.call("bool_and" if call.name == "LOGICAL_AND" else "bool_or", value.sql), BOOL


def _array_agg(call: Call, args: Arguments) -> Made:
    args.reject("ARRAY_AGG", "HAVING")
    value = _one(call, args)
    if value.type.element is not None:
        raise invalid_query(
            f"The argument to ARRAY_AGG must not be an array type but was {value.type}"
        )
    where = f"{value.sql} IS NOT NULL" if args.nulls == "IGNORE" else ""
    made = args.call("list", value.sql, order=args.order, where=where)
    return _limited(made, args), array(value.type)


def _limited(made: str, args: Arguments) -> str:
    if args.limit is None:
        return made
    if args.limit < 0:
        raise invalid_query("LIMIT in an aggregate must be a non-negative integer literal")
    return f"list_slice({made}, 1, {args.limit})"


def _array_concat_agg(call: Call, args: Arguments) -> Made:
    args.reject("ARRAY_CONCAT_AGG", "DISTINCT", "NULLS", "HAVING")
    value = _one(call, args)
    if value.type.element is None:
        raise call.mismatch([value])
    made = args.call("list", value.sql, order=args.order, where=f"{value.sql} IS NOT NULL")
    return f"flatten({_limited(made, args)})", value.type


def _string_agg(call: Call, args: Arguments) -> Made:
    args.reject("STRING_AGG", "NULLS", "HAVING")
    if not 1 <= len(args.values) <= 2 or args.values[0].type not in {STRING, BYTES}:
        raise call.mismatch(args.values)
    value = args.values[0]
    if value.type == BYTES:
        raise not_implemented("STRING_AGG of BYTES")
    separator = coerce(args.values[1], STRING) if len(args.values) == 2 else None
    sign = "','" if separator is None else separator.sql
    if args.limit is None:
        return args.call("string_agg", value.sql, sign, order=args.order), STRING
    made = args.call("list", value.sql, order=args.order, where=f"{value.sql} IS NOT NULL")
    return f"array_to_string({_limited(made, args)}, {sign})", STRING


def _approx_count(call: Call, args: Arguments) -> Made:
    # Exact is within the approximation's promise.
    args.reject(call.name, "DISTINCT", "NULLS", "ORDER BY", "LIMIT", "HAVING")
    return f"count(DISTINCT {_one(call, args).sql}){args.over}", INT64


def _statistic(call: Call, args: Arguments) -> Made:
    args.reject(call.name, "NULLS", "ORDER BY", "LIMIT", "HAVING")
    names = {
        "STDDEV": "stddev_samp",
        "VARIANCE": "var_samp",
        "COVAR_POP": "covar_pop",
        "COVAR_SAMP": "covar_samp",
    }
    values = [coerce(one, FLOAT64) for one in args.values]
    if len(values) != (2 if call.name in {"CORR", "COVAR_POP", "COVAR_SAMP"} else 1):
        raise call.mismatch(values)
    name = names.get(call.name, call.name.lower())
    return args.call(name, *(one.sql for one in values)), FLOAT64


def _bits(call: Call, args: Arguments) -> Made:
    args.reject(call.name, "NULLS", "ORDER BY", "LIMIT", "HAVING")
    return args.call(call.name.lower(), coerce(_one(call, args), INT64).sql), INT64


AGGREGATES: dict[str, Callable[[Call, Arguments], Made]] = {
    "ANY_VALUE": _any_value,
    "APPROX_COUNT_DISTINCT": _approx_count,
    "ARRAY_AGG": _array_agg,
    "ARRAY_CONCAT_AGG": _array_concat_agg,
    "AVG": _avg,
    "BIT_AND": _bits,
    "BIT_OR": _bits,
    "BIT_XOR": _bits,
    "CORR": _statistic,
    "COUNT": _count,
    "COUNTIF": _countif,
    "COVAR_POP": _statistic,
    "COVAR_SAMP": _statistic,
    "LOGICAL_AND": _logical,
    "LOGICAL_OR": _logical,
    "MAX": _extreme,
    "MAX_BY": _by,
    "MIN": _extreme,
    "MIN_BY": _by,
    "STDDEV": _statistic,
    "STDDEV_POP": _statistic,
    "STDDEV_SAMP": _statistic,
    "STRING_AGG": _string_agg,
    "SUM": _sum,
    "VARIANCE": _statistic,
    "VAR_POP": _statistic,
    "VAR_SAMP": _statistic,
}
