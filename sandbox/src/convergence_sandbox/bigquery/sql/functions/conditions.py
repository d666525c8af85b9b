"""CASE, IF and the functions that choose between values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlglot import exp

from convergence_sandbox.bigquery.sql.coerce import coerce, unify
from convergence_sandbox.bigquery.sql.expr import UNTYPED_NULL, Expr, combine
from convergence_sandbox.bigquery.sql.functions.registry import Call, Compiler, handler
from convergence_sandbox.bigquery.sql.nodes import reject_extra
from convergence_sandbox.bigquery.sql.types import BOOL

if TYPE_CHECKING:
    from convergence_sandbox.bigquery.sql.scope import Scope


def case(compiler: Compiler, node: exp.Expr, scope: Scope) -> Expr:
    """CASE with and without an operand."""
    reject_extra(node, "this", "ifs", "default")
    operand = node.args.get("this")
    tests = [compiler.expr(one.this, scope) for one in node.args["ifs"]]
    if operand is None:
        tests = [coerce(one, BOOL) for one in tests]
    else:
        (subject, *tests), _ = unify([compiler.expr(operand, scope), *tests], what="CASE")
        tests = [combine(f"({subject.sql} = {one.sql})", BOOL, [subject, one]) for one in tests]
    default = node.args.get("default")
    results = [compiler.expr(one.args["true"], scope) for one in node.args["ifs"]]
    results.append(UNTYPED_NULL if default is None else compiler.expr(default, scope))
    values, kind = unify(results, what="CASE")
    branches = " ".join(
        f"WHEN {test.sql} THEN {value.sql}" for test, value in zip(tests, values, strict=False)
    )
    return combine(f"CASE {branches} ELSE {values[-1].sql} END", kind, [*tests, *values])


def if_(compiler: Compiler, node: exp.Expr, scope: Scope) -> Expr:
    """IF(condition, one, other)."""
    reject_extra(node, "this", "true", "false")
    test = coerce(compiler.expr(node.this, scope), BOOL)
    other = node.args.get("false")
    results = [
        compiler.expr(node.args["true"], scope),
        UNTYPED_NULL if other is None else compiler.expr(other, scope),
    ]
    (one, two), kind = unify(results, what="function IF")
    sql = f"CASE WHEN {test.sql} THEN {one.sql} ELSE {two.sql} END"
    return combine(sql, kind, [test, one, two])


@handler("COALESCE", "IFNULL", safe=True)
def coalesce(call: Call) -> Expr:
    """COALESCE and IFNULL."""
    if call.name == "IFNULL":
        call.check_count(2)
    values, kind = unify(call.args(), what=f"function {call.name}")
    return combine(f"coalesce({', '.join(one.sql for one in values)})", kind, values)


@handler("NULLIF", safe=True)
def nullif(call: Call) -> Expr:
    """NULLIF(value, other)."""
    call.check_count(2)
    (one, other), kind = unify(call.args(), what="function NULLIF")
    return combine(f"nullif({one.sql}, {other.sql})", kind, [one, other])


@handler("GREATEST", "LEAST")
def extreme(call: Call) -> Expr:
    """GREATEST and LEAST: NULL when any argument is NULL."""
    call.check_count(1, 1000)
    values, kind = unify(call.args(), what=f"function {call.name}")
    listed = ", ".join(one.sql for one in values)
    nulls = " OR ".join(f"{one.sql} IS NULL" for one in values)
    sql = f"CASE WHEN {nulls} THEN NULL ELSE {call.name.lower()}({listed}) END"
    return combine(sql, kind, values)
