"""Queries: SELECT, set operations, WITH, subqueries and views, into DuckDB SQL."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeGuard

from sqlglot import exp

from convergence_sandbox.bigquery.errors import invalid_query, not_implemented
from convergence_sandbox.bigquery.resources.model import TableMeta
from convergence_sandbox.bigquery.sql import information_schema
from convergence_sandbox.bigquery.sql.coerce import coerce, common_type, convert_sql
from convergence_sandbox.bigquery.sql.context import Context
from convergence_sandbox.bigquery.sql.dialect import parse
from convergence_sandbox.bigquery.sql.expr import Expr
from convergence_sandbox.bigquery.sql.expressions import ExpressionCompiler
from convergence_sandbox.bigquery.sql.nodes import reject_extra
from convergence_sandbox.bigquery.sql.operators import check_comparable
from convergence_sandbox.bigquery.sql.relations import FromCompiler
from convergence_sandbox.bigquery.sql.scope import Column, Scope
from convergence_sandbox.bigquery.sql.selectlist import Item, SelectList
from convergence_sandbox.bigquery.sql.types import BOOL, INT64, SqlType, array, quote, struct

_SELECT_ARGS = (
    "expressions",
    "kind",
    "distinct",
    "from_",
    "joins",
    "where",
    "group",
    "having",
    "qualify",
    "windows",
    "order",
    "limit",
    "offset",
    "with_",
    "operation_modifiers",
)


@dataclass(frozen=True, slots=True)
class Output:
    """One column of a query's result."""

    name: str | None
    type: SqlType
    origins: frozenset[int] = frozenset()
    literal: Expr | None = None


@dataclass(frozen=True, slots=True)
class Query:
    """A compiled query.

    Attributes:
        sql: DuckDB SQL whose columns are called `c1`, `c2`, …
        columns: names and types, in order.
        outer: columns of enclosing queries it reads.
        value_table: SELECT AS STRUCT or AS VALUE: the one column is the row.
        cte: the DuckDB name, when this is a reference to a WITH entry.
        own_names: DuckDB columns called otherwise than c1, c2, … (INFORMATION_SCHEMA).
    """

    sql: str
    columns: tuple[Output, ...]
    outer: frozenset[str] = frozenset()
    value_table: bool = False
    cte: str | None = None

    def stored(self, index: int) -> str:
        """Return the DuckDB name of a column."""
        return f"c{index + 1}"


class QueryCompiler:
    """Compiles one statement's queries."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.expressions = ExpressionCompiler(context, self)
        self.sources = FromCompiler(context, self, self.expressions)
        self._ctes: list[dict[str, Query]] = []

    # --- queries ----------------------------------------------------------------------------

    def query(self, node: exp.Expr, *, parent: Scope | None = None) -> Query:
        """Compile a query expression of any kind."""
        entries = node.args.get("with_")
        if entries is None:
            return self._body(node, parent)
        reject_extra(entries, "expressions", "recursive")
        if entries.args.get("recursive"):
            raise not_implemented("WITH RECURSIVE")
        scope: dict[str, Query] = {}
        self._ctes.append(scope)
        parts: list[str] = []
        try:
            parts.extend(self._with_entry(entry, scope, parent) for entry in entries.expressions)
            made = self._body(node, parent)
        finally:
            self._ctes.pop()
        outer = made.outer.union(*(one.outer for one in scope.values()))
        return replace(made, sql=f"WITH {', '.join(parts)} {made.sql}", outer=outer)

    def _with_entry(self, entry: exp.Expr, scope: dict[str, Query], parent: Scope | None) -> str:
        reject_extra(entry, "this", "alias")
        alias = entry.args["alias"]
        reject_extra(alias, "this")
        name = alias.this.name
        if name.lower() in scope:
            raise invalid_query(f"Duplicate alias {name} for WITH subquery")
        made = self.query(entry.this, parent=parent)
        stored = f"w{self.context.alias()}"
        scope[name.lower()] = replace(made, cte=stored)
        return f"{quote(stored)} AS ({made.sql})"

    def cte(self, name: str) -> Query | None:
        """Return the WITH entry of that name, nearest first."""
        for scope in reversed(self._ctes):
            if name.lower() in scope:
                return scope[name.lower()]
        return None

    def _body(self, node: exp.Expr, parent: Scope | None) -> Query:
        if isinstance(node, exp.Select):
            return self._select(node, parent)
        if isinstance(node, exp.SetOperation):
            return self._set_operation(node, parent)
        if isinstance(node, exp.Subquery | exp.Paren):
            reject_extra(node, "this", "with_", "order", "limit", "offset")
            made = self.query(node.this, parent=parent)
            return self._ordered_outside(made, node)
        if isinstance(node, exp.Table):
            raise not_implemented("a table as a query expression")
        raise not_implemented(f"{type(node).__name__}: {node.sql('bigquery')}")

    def _select(self, node: exp.Select, parent: Scope | None) -> Query:
        reject_extra(node, *_SELECT_ARGS)
        scope = Scope(parent=parent, windows=self._windows(node))
        source = self.sources.from_clause(node, scope)
        where = self._where(node, scope)
        chosen = SelectList(self.expressions, node, scope)
        parts = ["SELECT "]
        if node.args.get("distinct") is not None:
            reject_extra(node.args["distinct"])
            parts.append("DISTINCT ")
        items = chosen.items()
        for one in items:
            if node.args.get("distinct") is not None:
                check_comparable(one.expr.type, "SELECT DISTINCT")
        columns, values = self._shaped(node, items)
        parts += [", ".join(f"{sql} AS c{i}" for i, sql in enumerate(values, 1)), source, where]
        parts += [chosen.group_by(), chosen.having(), chosen.qualify()]
        parts.append(chosen.order_by(shaped=len(columns) != len(items)))
        parts.append(self._limit(node))
        return Query("".join(parts), columns, frozenset(scope.outer), bool(node.args.get("kind")))

    def _shaped(self, node: exp.Select, items: list[Item]) -> tuple[tuple[Output, ...], list[str]]:
        """Return the output columns; AS STRUCT makes one of them, AS VALUE takes the only one."""
        kind = str(node.args.get("kind") or "").upper()
        if not kind:
            columns = tuple(
                Output(one.name, one.expr.type, one.expr.origins, one.expr) for one in items
            )
            return columns, [one.expr.sql for one in items]
        if kind == "STRUCT":
            made = struct([(one.name, one.expr.type) for one in items])
            from convergence_sandbox.bigquery.sql.functions.arrays import struct_sql

            return (Output(None, made),), [struct_sql(made, [one.expr for one in items])]
        if kind == "VALUE" and len(items) == 1:
            return (Output(None, items[0].expr.type),), [items[0].expr.sql]
        raise invalid_query("SELECT AS VALUE query must have exactly one column")

    def _windows(self, node: exp.Select) -> dict[str, exp.Expr]:
        return {one.this.name.lower(): one for one in node.args.get("windows") or []}

    def _where(self, node: exp.Select, scope: Scope) -> str:
        where = node.args.get("where")
        if where is None:
            return ""
        clause = scope.narrowed("WHERE clause", aggregates=False, windows=False)
        return f" WHERE {self.sources.filter(where.this, clause)}"

    def _limit(self, node: exp.Expr) -> str:
        parts = ""
        for key, keyword in (("limit", "LIMIT"), ("offset", "OFFSET")):
            clause = node.args.get(key)
            if clause is None:
                continue
            value = self.expressions.expr(clause.expression, Scope())
            if value.type != INT64 or not value.is_literal or (value.literal or 0) < 0:
                raise invalid_query(
                    f"{keyword} expects a non-negative integer literal or parameter"
                )
            parts += f" {keyword} {int(value.literal or 0)}"
        return parts

    # --- set operations ---------------------------------------------------------------------

    def _set_operation(self, node: exp.SetOperation, parent: Scope | None) -> Query:
        reject_extra(node, "this", "expression", "distinct", "order", "limit", "offset", "with_")
        distinct = bool(node.args.get("distinct"))
        keyword = {exp.Union: "UNION", exp.Except: "EXCEPT", exp.Intersect: "INTERSECT"}[type(node)]
        if not distinct and keyword != "UNION":
            raise invalid_query(f"{keyword} must be followed by DISTINCT")
        sides = [self.query(node.this, parent=parent), self.query(node.expression, parent=parent)]
        left, right = sides
        if len(left.columns) != len(right.columns):
            raise invalid_query(
                f"Queries in {keyword} have mismatched column count; query 1 has"
                f" {len(left.columns)} columns, query 2 has {len(right.columns)}"
                " columns"
            )
        columns = []
        for index, (one, other) in enumerate(zip(left.columns, right.columns, strict=True)):
            kind = common_type([_as_part(one), _as_part(other)])
            if kind is None:
                raise invalid_query(
                    f"Column {index + 1} in {keyword} has incompatible types:"
                    f" {one.type}, {other.type}"
                )
            if distinct:
                check_comparable(kind, keyword)
            columns.append(Output(one.name, kind, one.origins | other.origins))
        keywords = keyword if distinct else "UNION ALL"
        sql = f" {keywords} ".join(_converted(side, columns) for side in sides)
        made = Query(sql, tuple(columns), left.outer | right.outer, left.value_table)
        return self._ordered_outside(made, node)

    def _ordered_outside(self, made: Query, node: exp.Expr) -> Query:
        """ORDER BY and LIMIT of a set operation, over its output columns."""
        if not any(node.args.get(key) for key in ("order", "limit", "offset")):
            return made
        item = self.sources.derived(made, None)
        scope = Scope(relations=list(item.relations))
        parts = []
        for one in node.args["order"].expressions if node.args.get("order") else []:
            if isinstance(one.this, exp.Literal) and not one.this.is_string:
                value = f"c{int(one.this.this)}"
            else:
                value = self.expressions.expr(one.this, scope).sql
            parts.append(value + direction(one))
        order = f" ORDER BY {', '.join(parts)}" if parts else ""
        names = ", ".join(f"c{i}" for i in range(1, len(made.columns) + 1))
        sql = f"SELECT {names} FROM {item.sql}{order}{self._limit(node)}"
        return replace(made, sql=sql)

    # --- subqueries -------------------------------------------------------------------------

    def subquery(self, node: exp.Expr, scope: Scope) -> Query:
        """Return a query inside an expression, which may read the enclosing query's columns."""
        inner = node.this if isinstance(node, exp.Subquery) and not node.args.get("with_") else node
        made = self.query(inner, parent=scope)
        scope.outer |= made.outer - _scope_columns(scope)
        return made

    def in_subquery(self, value: Expr, node: exp.Expr, scope: Scope) -> Expr:
        """`value IN (SELECT …)`."""
        made = self.subquery(node, scope)
        if len(made.columns) != 1:
            raise invalid_query("Subquery of type IN must have only one output column")
        kind = common_type([value, Expr("x", made.columns[0].type)])
        if kind is None:
            raise invalid_query(
                "Cannot execute IN subquery with uncomparable types"
                f" {value.type} and {made.columns[0].type}"
            )
        check_comparable(kind, "IN")
        item = self.sources.derived(made, None)
        column = item.relations[0].columns[0]
        inner = f"SELECT {convert_sql(column.sql, column.type, kind)} FROM {item.sql}"
        if value.is_literal or value.type != kind:
            value = coerce(value, kind)
        return Expr(
            f"({value.sql} IN ({inner}))",
            BOOL,
            free=value.free | made.outer,
            aggregates=value.aggregates,
            windows=value.windows,
            constant=False,
        )

    def array_subquery(self, node: exp.Expr, scope: Scope) -> Expr:
        """`ARRAY(SELECT …)`: the rows in the subquery's order, empty when there are none."""
        made = self.subquery(node, scope)
        if len(made.columns) != 1:
            raise invalid_query(
                "ARRAY subquery cannot have more than one column unless using"
                " SELECT AS STRUCT to build STRUCT values"
            )
        kind = array(made.columns[0].type)
        sql = f"coalesce((SELECT list(c1) FROM ({made.sql}) AS a), CAST([] AS {kind.duck}))"
        return Expr(sql, kind, free=made.outer, constant=False)

    # --- views ------------------------------------------------------------------------------

    def view(self, meta: TableMeta) -> Query:
        """Return a view's query, compiled as its own statement would be."""
        context = self.context
        if meta.ref in context.views or len(context.views) > 16:
            raise invalid_query(f"View {meta.ref} is recursive or nested too deeply")
        kept = context.views, context.dataset, context.project
        ctes, self._ctes = self._ctes, []
        parameters, variables = context.parameters, context.variables
        context.views = (*context.views, meta.ref)
        context.dataset, context.project = None, meta.ref.project
        context.parameters, context.variables = {}, {}
        try:
            made = self.query(parse(meta.view_query or ""))
        finally:
            context.views, context.dataset, context.project = kept
            context.parameters, context.variables = parameters, variables
            self._ctes = ctes
        return replace(made, columns=tuple(named_columns(made.columns)))

    def information_schema(self, parts: list[str]) -> Query:
        """Return an INFORMATION_SCHEMA view as a query."""
        sql, columns = information_schema.view_sql(self.context, parts)
        return Query(sql, tuple(Output(name, kind) for name, kind in columns))


def _scope_columns(scope: Scope) -> set[str]:
    return {column.sql for relation in scope.relations for column in relation.columns}


def _as_part(column: Output) -> Expr:
    if _is_untyped(column.literal):
        return column.literal
    return Expr("x", column.type)


def _is_untyped(value: Expr | None) -> TypeGuard[Expr]:
    """NULL and the empty array fit every column."""
    return value is not None and (value.untyped_null or value.literal == [])


def _converted(side: Query, columns: list[Output]) -> str:
    if all(one.type == two.type for one, two in zip(side.columns, columns, strict=True)):
        return f"(SELECT * FROM ({side.sql}) AS s)"
    values = []
    for index, (one, expected) in enumerate(zip(side.columns, columns, strict=True)):
        name = side.stored(index)
        if _is_untyped(one.literal):
            value = coerce(one.literal, expected.type).sql
        else:
            value = convert_sql(name, one.type, expected.type)
        values.append(f"{value} AS {name}")
    return f"(SELECT {', '.join(values)} FROM ({side.sql}) AS s)"


def direction(node: exp.Expr) -> str:
    """ASC and DESC with BigQuery's NULLs: first when ascending, last when descending."""
    reject_extra(node, "this", "desc", "nulls_first")
    keyword = "DESC" if node.args.get("desc") else "ASC"
    return f" {keyword} NULLS {'FIRST' if node.args.get('nulls_first') else 'LAST'}"


def named_columns(columns: tuple[Output, ...]) -> list[Output]:
    """Anonymous columns called `f0_`, `f1_`, … as BigQuery shows them."""
    made, number = [], 0
    for one in columns:
        if one.name is None:
            made.append(replace(one, name=f"f{number}_"))
            number += 1
        else:
            made.append(one)
    return made


__all__ = ["Column", "Output", "Query", "QueryCompiler", "direction", "named_columns"]
