"""Expressions: one method per kind of syntax node, each giving typed DuckDB SQL."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from sqlglot import exp

from convergence_sandbox.bigquery.errors import BigQueryError, invalid_query, not_implemented
from convergence_sandbox.bigquery.sql.casts import cast, declared_type
from convergence_sandbox.bigquery.sql.coerce import coerce, unify
from convergence_sandbox.bigquery.sql.context import Context
from convergence_sandbox.bigquery.sql.expr import UNTYPED_NULL, Expr, combine
from convergence_sandbox.bigquery.sql.functions import (
    aggregates,
    arrays,
    conditions,
    extracts,
    jsons,
    maths,
    spans,
    texts,
    times,
    windows,
)
from convergence_sandbox.bigquery.sql.functions.registry import Call, compile_call
from convergence_sandbox.bigquery.sql.literals import literal, literal_sql, parse_text
from convergence_sandbox.bigquery.sql.nodes import dotted_parts, reject_extra
from convergence_sandbox.bigquery.sql.operators import ARITHMETIC, BITS, COMPARISONS, Operators
from convergence_sandbox.bigquery.sql.scope import Scope, access
from convergence_sandbox.bigquery.sql.types import (
    BOOL,
    BYTES,
    FLOAT64,
    INT64,
    JSON,
    STRING,
    array,
)

if TYPE_CHECKING:
    from convergence_sandbox.bigquery.sql.select import QueryCompiler

# Importing these fills the function table.
FUNCTION_MODULES = (arrays, conditions, extracts, jsons, maths, spans, texts, times)
# Functions of a partition column that BigQuery still prunes by.
_MONOTONE = frozenset({"DATE", "DATETIME", "TIMESTAMP", "TIMESTAMP_TRUNC"})


class ExpressionCompiler(Operators):
    """Compiles expressions of one query; subqueries go back to the query compiler."""

    def __init__(self, context: Context, queries: QueryCompiler) -> None:
        self.context = context
        self.queries = queries
        self._dispatch: dict[type[exp.Expr], Callable[[exp.Expr, Scope], Expr]] = {
            exp.Literal: self._literal,
            exp.RawString: self._raw_string,
            exp.ByteString: self._bytes,
            exp.Null: lambda _node, _scope: UNTYPED_NULL,
            exp.Boolean: lambda node, _scope: literal(bool(node.this), BOOL),
            exp.Paren: lambda node, scope: self.expr(node.this, scope),
            exp.Column: self._column,
            exp.Dot: self._dot,
            exp.Parameter: self._parameter,
            exp.SessionParameter: self._parameter,
            exp.Neg: self._negate,
            exp.Not: self._not,
            exp.And: self._logical,
            exp.Or: self._logical,
            exp.Is: self._is,
            exp.NullSafeEQ: self._distinct,
            exp.NullSafeNEQ: self._distinct,
            exp.Between: self._between,
            exp.In: self._in,
            exp.Like: self._like,
            exp.Exists: self._exists,
            exp.Case: lambda node, scope: conditions.case(self, node, scope),
            exp.If: lambda node, scope: conditions.if_(self, node, scope),
            exp.Cast: self._cast,
            exp.TryCast: self._cast,
            exp.Extract: lambda node, scope: extracts.extract(self, node, scope),
            exp.Interval: lambda node, scope: spans.interval(self, node, scope),
            exp.Bracket: lambda node, scope: arrays.subscript(self, node, scope),
            exp.Array: self._array,
            exp.Tuple: lambda node, scope: arrays.make_struct(self, node.expressions, scope),
            exp.Struct: lambda node, scope: arrays.make_struct(self, node.expressions, scope),
            exp.Subquery: self._scalar_subquery,
            exp.DPipe: self._concat,
            exp.ParseJSON: self._json_literal,
            exp.Anonymous: self._call,
            exp.SafeFunc: self._safe_call,
            exp.NetFunc: lambda node, _scope: _reject(f"function NET.{node.this.name}"),
            exp.Window: lambda node, scope: windows.window(self, node, scope),
            exp.CurrentDate: lambda node, scope: self._bare_call("CURRENT_DATE", node, scope),
            exp.CurrentDatetime: lambda node, scope: self._bare_call(
                "CURRENT_DATETIME", node, scope
            ),
            exp.CurrentTime: lambda node, scope: self._bare_call("CURRENT_TIME", node, scope),
            exp.CurrentTimestamp: lambda node, scope: self._bare_call(
                "CURRENT_TIMESTAMP", node, scope
            ),
            exp.BitwiseNot: self._bit_not,
            exp.BitwiseXor: lambda node, scope: self._bits("xor", node, scope),
            exp.BitwiseLeftShift: lambda node, scope: self._bits("bit_shift_left", node, scope),
            exp.BitwiseRightShift: lambda node, scope: self._bits("bit_shift_right", node, scope),
        }
        for kind in COMPARISONS:
            self._dispatch[kind] = self._compare
        for kind in ARITHMETIC:
            self._dispatch[kind] = self._arithmetic
        for kind in BITS:
            self._dispatch[kind] = lambda node, scope: self._bits(BITS[type(node)], node, scope)

    @property
    def exact(self) -> bool:
        """Return whether decimals are computed the slow, always exact way."""
        return self.context.exact

    @property
    def now_micros(self) -> int:
        """Return the moment the query began, in microseconds since the epoch."""
        return self.context.now_micros

    def expr(self, node: exp.Expr, scope: Scope) -> Expr:
        """Compile one expression.

        Raises:
            BigQueryError: 400 for what BigQuery rejects, 501 for what is not done here.
        """
        compile_node = self._dispatch.get(type(node))
        if compile_node is None:
            raise not_implemented(f"{type(node).__name__} expressions: {node.sql('bigquery')}")
        made = compile_node(node, scope)
        if scope.group_keys and made.sql in scope.group_keys:
            return replace(made, free=frozenset(), constant=False)
        return made

    def condition(self, node: exp.Expr, scope: Scope) -> Expr:
        """Return a BOOL expression, as WHERE and its kin take."""
        made = self.expr(node, scope)
        if made.untyped_null:
            return coerce(made, BOOL)
        if made.type != BOOL:
            raise invalid_query(f"{scope.where} should return type BOOL, but returns {made.type}")
        return made

    # --- leaves -----------------------------------------------------------------------------

    def _literal(self, node: exp.Expr, _: Scope) -> Expr:
        text = str(node.this)
        if node.args.get("is_string"):
            return literal(text, STRING)
        if text.isdecimal() or text.lower().startswith("0x"):
            return literal(parse_text(text, INT64), INT64)
        return literal(parse_text(text, FLOAT64), FLOAT64)

    def _raw_string(self, node: exp.Expr, _: Scope) -> Expr:
        return literal(str(node.this), STRING)

    def _bytes(self, node: exp.Expr, _: Scope) -> Expr:
        text = str(node.this)
        try:
            # sqlglot hands bytes on as text with one character for each byte.
            return literal(text.encode("latin-1"), BYTES)
        except UnicodeEncodeError:
            return literal(text.encode(), BYTES)

    def _json_literal(self, node: exp.Expr, _: Scope) -> Expr:
        reject_extra(node, "this", "is_literal")
        if not isinstance(node.this, exp.Literal):
            raise not_implemented("a field access on a JSON literal")
        return literal(parse_text(str(node.this.this), JSON), JSON)

    def _parameter(self, node: exp.Expr, _: Scope) -> Expr:
        inner = node.this
        if isinstance(inner, exp.Parameter):
            return self._system_variable(inner.this.name)
        if isinstance(node, exp.SessionParameter):
            return self._system_variable(str(node.this.name if node.this else ""))
        return self.context.parameter(inner.name)

    def _system_variable(self, name: str) -> Expr:
        if name.lower() == "project_id":
            return literal(self.context.project, STRING)
        raise not_implemented(f"system variable @@{name}")

    def _column(self, node: exp.Expr, scope: Scope) -> Expr:
        if isinstance(node.this, exp.Star):
            raise invalid_query("Star is only allowed in the SELECT list")
        parts = dotted_parts(node)
        variable = self.context.variables.get(parts[0].lower())
        if variable is not None:
            try:
                base, rest = scope.resolve(parts)
            except BigQueryError:
                return access(variable, parts[1:])
            return access(base, rest)
        base, rest = scope.resolve(parts)
        return access(base, rest)

    def _dot(self, node: exp.Expr, scope: Scope) -> Expr:
        target = node.expression
        if isinstance(target, exp.Func | exp.Anonymous):
            raise not_implemented(f"function {node.sql('bigquery')}")
        parts = dotted_parts(node)
        if parts:
            return self._column(node, scope)
        return access(self.expr(node.this, scope), [target.name])

    # --- subqueries -------------------------------------------------------------------------

    def _exists(self, node: exp.Expr, scope: Scope) -> Expr:
        made = self.queries.subquery(node.this, scope)
        return Expr(f"EXISTS ({made.sql})", BOOL, free=made.outer, constant=False)

    def _scalar_subquery(self, node: exp.Expr, scope: Scope) -> Expr:
        made = self.queries.subquery(node, scope)
        if len(made.columns) != 1:
            raise invalid_query(
                "Scalar subquery cannot have more than one column unless using"
                " SELECT AS STRUCT to build STRUCT values"
            )
        return Expr(f"({made.sql})", made.columns[0].type, free=made.outer, constant=False)

    # --- constructors and calls -------------------------------------------------------------

    def _array(self, node: exp.Expr, scope: Scope) -> Expr:
        items = node.expressions
        if len(items) == 1 and isinstance(items[0], exp.Query):
            return self.queries.array_subquery(items[0], scope)
        if not items:
            return Expr("CAST([] AS BIGINT[])", array(INT64), literal=[])
        parts, kind = unify([self.expr(one, scope) for one in items], what="ARRAY constructor")
        made = combine(f"[{', '.join(one.sql for one in parts)}]", array(kind), parts)
        if all(one.is_literal for one in parts):
            values = [one.literal for one in parts]
            return replace(made, sql=literal_sql(values, made.type), literal=values)
        return made

    def _cast(self, node: exp.Expr, scope: Scope) -> Expr:
        reject_extra(node, "this", "to", "safe", "format")
        kind, limits = declared_type(node.args["to"])
        inner = node.this
        if isinstance(inner, exp.Struct) and kind.kind == "STRUCT":
            return arrays.typed_struct(self, inner.expressions, kind, scope)
        value = self.expr(inner, scope)
        form = node.args.get("format")
        return cast(
            value,
            kind,
            safe=isinstance(node, exp.TryCast),
            limits=limits,
            form=None if form is None else self.expr(form, scope),
            exact=self.exact,
        )

    def _call(self, node: exp.Expr, scope: Scope) -> Expr:
        return self.call(str(node.this), node.expressions, scope)

    def _safe_call(self, node: exp.Expr, scope: Scope) -> Expr:
        inner = node.this
        if not isinstance(inner, exp.Anonymous):
            raise not_implemented(f"SAFE. before {inner.sql('bigquery')}")
        return self.call(str(inner.this), inner.expressions, scope, safe=True)

    def _bare_call(self, name: str, node: exp.Expr, scope: Scope) -> Expr:
        arguments = [node.this] if node.this is not None else []
        return self.call(name, arguments, scope)

    def call(self, name: str, nodes: list[exp.Expr], scope: Scope, *, safe: bool = False) -> Expr:
        """Return a function call, aggregate or scalar."""
        made = Call(name.upper(), tuple(nodes), scope, self, safe)
        if made.name in aggregates.AGGREGATES:
            return aggregates.aggregate(made)
        if made.name in windows.WINDOW_ONLY:
            raise invalid_query(
                f"Analytic function {made.name} cannot be called without an OVER clause"
            )
        result = compile_call(made)
        if made.name in _MONOTONE and nodes:
            first, *others = made.args() if made.name != "TIMESTAMP_TRUNC" else [made.arg(0)]
            if first.origins and all(one.constant for one in others):
                return replace(result, origins=first.origins)
        return result


def _reject(construct: str) -> Expr:
    raise not_implemented(construct)
