"""Operators: arithmetic, comparison, logic, LIKE, IN, and which partitions a condition leaves."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING

from sqlglot import exp

from convergence_sandbox.bigquery.errors import invalid_query, not_implemented
from convergence_sandbox.bigquery.sql import numeric
from convergence_sandbox.bigquery.sql.coerce import coerce, unify
from convergence_sandbox.bigquery.sql.expr import Expr, combine
from convergence_sandbox.bigquery.sql.literals import literal
from convergence_sandbox.bigquery.sql.nodes import reject_extra
from convergence_sandbox.bigquery.sql.scope import Scope
from convergence_sandbox.bigquery.sql.types import BOOL, BYTES, INT64, STRING, SqlType

if TYPE_CHECKING:
    from convergence_sandbox.bigquery.sql.select import QueryCompiler

COMPARISONS: dict[type[exp.Expr], str] = {
    exp.EQ: "=",
    exp.NEQ: "<>",
    exp.LT: "<",
    exp.LTE: "<=",
    exp.GT: ">",
    exp.GTE: ">=",
}
BITS: dict[type[exp.Expr], str] = {exp.BitwiseAnd: "&", exp.BitwiseOr: "|"}
ARITHMETIC: dict[type[exp.Expr], str] = {exp.Add: "+", exp.Sub: "-", exp.Mul: "*", exp.Div: "/"}
_MINIMUM = 2**63


class Operators(ABC):
    """The operators' half of the expression compiler."""

    queries: QueryCompiler

    @property
    @abstractmethod
    def exact(self) -> bool:
        """Return whether decimals are computed the slow, always exact way."""

    @abstractmethod
    def expr(self, node: exp.Expr, scope: Scope) -> Expr:
        """Compile one expression."""

    def _negate(self, node: exp.Expr, scope: Scope) -> Expr:
        inner = node.this
        if isinstance(inner, exp.Literal) and inner.this == str(_MINIMUM):
            return literal(-_MINIMUM, INT64)
        return numeric.negate(self.expr(inner, scope))

    def _arithmetic(self, node: exp.Expr, scope: Scope) -> Expr:
        reject_extra(node, "this", "expression", "typed", "safe")
        left, right = self.expr(node.this, scope), self.expr(node.expression, scope)
        return numeric.arithmetic(ARITHMETIC[type(node)], left, right, exact=self.exact)

    def _bits(self, operator: str, node: exp.Expr, scope: Scope) -> Expr:
        left = coerce(self.expr(node.this, scope), INT64)
        right = coerce(self.expr(node.expression, scope), INT64)
        if operator.isalpha() or "_" in operator:
            sql = f"{operator}({left.sql}, {right.sql})"
            if "shift" in operator:
                raise not_implemented("bit shift operators")
        else:
            sql = f"({left.sql} {operator} {right.sql})"
        return combine(sql, INT64, [left, right])

    def _bit_not(self, node: exp.Expr, scope: Scope) -> Expr:
        inner = coerce(self.expr(node.this, scope), INT64)
        return combine(f"(~{inner.sql})", INT64, [inner])

    def _not(self, node: exp.Expr, scope: Scope) -> Expr:
        inner = self._boolean(node.this, scope, "NOT")
        made = combine(f"(NOT {inner.sql})", BOOL, [inner])
        # `x IS NOT NULL` limits partitions; other negations are not counted on.
        return replace(made, prunes=inner.prunes) if isinstance(node.this, exp.Is) else made

    def _logical(self, node: exp.Expr, scope: Scope) -> Expr:
        keyword = "AND" if isinstance(node, exp.And) else "OR"
        left = self._boolean(node.this, scope, keyword)
        right = self._boolean(node.expression, scope, keyword)
        made = combine(f"({left.sql} {keyword} {right.sql})", BOOL, [left, right])
        pruned = left.prunes | right.prunes if keyword == "AND" else left.prunes & right.prunes
        return replace(made, prunes=pruned)

    def _boolean(self, node: exp.Expr, scope: Scope, operator: str) -> Expr:
        made = self.expr(node, scope)
        if made.type != BOOL and not made.untyped_null:
            raise invalid_query(
                f"No matching signature for operator {operator} for argument types: {made.type}"
            )
        return coerce(made, BOOL)

    def _compare(self, node: exp.Expr, scope: Scope) -> Expr:
        reject_extra(node, "this", "expression")
        sign = COMPARISONS[type(node)]
        both = [self.expr(node.this, scope), self.expr(node.expression, scope)]
        (left, right), kind = unify(both, what=f"operator {sign}")
        check_comparable(kind, sign)
        made = combine(f"({left.sql} {sign} {right.sql})", BOOL, [left, right])
        return (
            made
            if sign == "<>"
            else replace(made, prunes=_pruned(both[0], both[1:]) or _pruned(both[1], both[:1]))
        )

    def _distinct(self, node: exp.Expr, scope: Scope) -> Expr:
        keyword = "IS NOT DISTINCT FROM" if isinstance(node, exp.NullSafeEQ) else "IS DISTINCT FROM"
        both = [self.expr(node.this, scope), self.expr(node.expression, scope)]
        (left, right), kind = unify(both, what=keyword)
        check_comparable(kind, keyword)
        return combine(f"({left.sql} {keyword} {right.sql})", BOOL, [left, right])

    def _is(self, node: exp.Expr, scope: Scope) -> Expr:
        reject_extra(node, "this", "expression")
        value, what = self.expr(node.this, scope), node.expression
        if isinstance(what, exp.Null):
            made = combine(f"({value.sql} IS NULL)", BOOL, [value])
            return replace(made, prunes=value.origins)
        if isinstance(what, exp.Boolean):
            inner = self._boolean(node.this, scope, "IS")
            keyword = "TRUE" if what.this else "FALSE"
            return combine(f"({inner.sql} IS {keyword})", BOOL, [inner])
        raise not_implemented(f"IS {what.sql('bigquery')}")

    def _between(self, node: exp.Expr, scope: Scope) -> Expr:
        reject_extra(node, "this", "low", "high")
        parts = [self.expr(node.args[key], scope) for key in ("this", "low", "high")]
        (value, low, high), kind = unify(parts, what="operator BETWEEN")
        check_comparable(kind, "BETWEEN")
        sql = f"({value.sql} BETWEEN {low.sql} AND {high.sql})"
        made = combine(sql, BOOL, [value, low, high])
        return replace(made, prunes=_pruned(parts[0], parts[1:]))

    def _like(self, node: exp.Expr, scope: Scope) -> Expr:
        reject_extra(node, "this", "expression")
        both = [self.expr(node.this, scope), self.expr(node.expression, scope)]
        (value, pattern), kind = unify(both, what="operator LIKE")
        if kind != STRING:
            raise (
                not_implemented(f"LIKE on {kind}")
                if kind == BYTES
                else invalid_query(
                    f"No matching signature for operator LIKE for argument types: {kind}, {kind}"
                )
            )
        plain = pattern.is_literal and "\\" not in (pattern.literal or "")
        escape = "" if plain else " ESCAPE '\\'"
        return combine(f"({value.sql} LIKE {pattern.sql}{escape})", BOOL, [value, pattern])

    def _concat(self, node: exp.Expr, scope: Scope) -> Expr:
        both = [self.expr(node.this, scope), self.expr(node.expression, scope)]
        (left, right), kind = unify(both, what="operator ||")
        if kind.kind not in {"STRING", "BYTES", "ARRAY"}:
            raise invalid_query(
                f"No matching signature for operator || for argument types: {kind}, {kind}"
            )
        if kind.element is not None:
            sql = f"array_join({left.sql}, {right.sql})"
        else:
            sql = f"({left.sql} || {right.sql})"
        return combine(sql, kind, [left, right])

    def _in(self, node: exp.Expr, scope: Scope) -> Expr:
        reject_extra(node, "this", "expressions", "query", "unnest")
        value = self.expr(node.this, scope)
        if node.args.get("query"):
            return self.queries.in_subquery(value, node.args["query"], scope)
        if node.args.get("unnest"):
            return self._in_unnest(value, node.args["unnest"], scope)
        operands = [value, *(self.expr(one, scope) for one in node.expressions)]
        (value, *rest), kind = unify(operands, what="operator IN")
        check_comparable(kind, "IN")
        listed = ", ".join(one.sql for one in rest)
        made = combine(f"({value.sql} IN ({listed}))", BOOL, [value, *rest])
        return replace(made, prunes=_pruned(operands[0], operands[1:]))

    def _in_unnest(self, value: Expr, node: exp.Expr, scope: Scope) -> Expr:
        values = self.expr(node.expressions[0], scope)
        if values.type.element is None:
            raise invalid_query(
                f"Values referenced in UNNEST must be arrays. UNNEST contains"
                f" expression of type {values.type}"
            )
        element = values.type.element
        if values.is_literal:
            items = [
                literal(one, element, is_parameter=values.is_parameter)
                for one in values.literal or ()
            ]
            if not items:
                return replace(combine("FALSE", BOOL, [value]), prunes=value.origins)
            (value, *items), _ = unify([value, *items], what="operator IN UNNEST")
            listed = ", ".join(one.sql for one in items)
            made = combine(f"({value.sql} IN ({listed}))", BOOL, [value, *items])
            return replace(made, prunes=value.origins)
        value = coerce(value, element)
        sql = f"({value.sql} IN (SELECT unnest({values.sql})))"
        return replace(combine(sql, BOOL, [value, values]), constant=False)


def _pruned(value: Expr, others: list[Expr]) -> frozenset[int]:
    return value.origins if all(one.constant for one in others) else frozenset()


def check_comparable(kind: SqlType, operator: str) -> None:
    """Reject comparison of values that have none in BigQuery."""
    if kind.holds("JSON") or kind.element is not None:
        raise invalid_query(f"{operator} is not defined for arguments of type {kind}")
