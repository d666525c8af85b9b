"""The SELECT list with what hangs on it: stars, aliases, GROUP BY, HAVING, QUALIFY, ORDER BY."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sqlglot import exp

from convergence_sandbox.bigquery.errors import invalid_query, not_implemented
from convergence_sandbox.bigquery.sql.expr import Expr
from convergence_sandbox.bigquery.sql.nodes import dotted_parts, reject_extra
from convergence_sandbox.bigquery.sql.scope import Column, Scope, access
from convergence_sandbox.bigquery.sql.types import stored_names

if TYPE_CHECKING:
    from convergence_sandbox.bigquery.sql.expressions import ExpressionCompiler


@dataclass(frozen=True, slots=True)
class Item:
    """One output column: its name (None when anonymous) and expression."""

    name: str | None
    expr: Expr


class SelectList:
    """Compiles the parts of one SELECT that see the FROM clause and each other's aliases."""

    def __init__(self, expressions: ExpressionCompiler, node: exp.Select, scope: Scope) -> None:
        self._expressions = expressions
        self._node = node
        self._scope = scope
        self._keys: list[Expr] = []
        self._items: list[Item] = []
        self._grouping_keyword = ""

    def items(self) -> list[Item]:
        """Return the output columns, checked against GROUP BY."""
        raw = self._node.expressions
        grouping = self._grouping(raw)
        if grouping is not None:
            self._keys = grouping
            self._scope.group_keys = {one.sql: one for one in grouping}
        items = [item for node in raw for item in self._expand(node)]
        grouped = (
            grouping is not None
            or self._node.args.get("having") is not None
            or any(one.expr.aggregates for one in items)
        )
        if grouped and self._scope.group_keys is None:
            self._scope.group_keys = {}
        self._items = items
        for one in items:
            self._check_grouped(one.expr, "SELECT list")
        return items

    def _check_grouped(self, made: Expr, where: str) -> None:
        keys = self._scope.group_keys
        if keys is None:
            return
        in_scope = {column.sql for relation in self._scope.relations for column in relation.columns}
        loose = [one for one in made.free if one in in_scope and one not in keys]
        if loose:
            name = self._column_name(min(loose))
            raise invalid_query(
                f"{where} expression references column {name} which is neither"
                " grouped nor aggregated"
            )

    def _column_name(self, sql: str) -> str:
        for relation in self._scope.relations:
            for column in relation.columns:
                if column.sql == sql:
                    return column.name or sql
        return sql

    # --- stars and columns ------------------------------------------------------------------

    def _expand(self, node: exp.Expr) -> list[Item]:
        if isinstance(node, exp.Star):
            return self._star(node, [_column_item(one) for one in self._scope.stars()])
        if isinstance(node, exp.Column) and isinstance(node.this, exp.Star):
            return self._star(node.this, self._fields_of(node))
        if isinstance(node, exp.Dot) and isinstance(node.expression, exp.Star):
            base = self._expressions.expr(node.this, self._scope)
            return self._star(node.expression, _struct_items(base))
        if isinstance(node, exp.Alias):
            made = self._expressions.expr(node.this, self._scope)
            return [Item(node.alias, made)]
        if isinstance(node, exp.Aliases):
            raise not_implemented(f"several aliases: {node.sql('bigquery')}")
        made = self._expressions.expr(node, self._scope)
        return [Item(_implied_name(node), made)]

    def _fields_of(self, node: exp.Column) -> list[Item]:
        parts = [part.name for part in node.parts[:-1]]
        for relation in self._scope.relations:
            if len(parts) == 1 and relation.name and relation.name.lower() == parts[0].lower():
                return [_column_item(one) for one in relation.visible()]
        base, rest = self._scope.resolve(parts)
        return _struct_items(access(base, rest))

    def _star(self, node: exp.Expr, items: list[Item]) -> list[Item]:
        reject_extra(node, "except_", "replace")
        if not items:
            raise invalid_query(
                "SELECT * must have a FROM clause"
                if not self._scope.relations
                else "SELECT * expands to no columns"
            )
        dropped = {one.name.lower() for one in node.args.get("except_") or []}
        known = {one.name.lower() for one in items if one.name}
        for name in dropped - known:
            raise invalid_query(f"Column {name} in SELECT * EXCEPT list does not exist")
        replaced = {
            one.alias.lower(): self._expressions.expr(one.this, self._scope)
            for one in node.args.get("replace") or []
        }
        for name in replaced.keys() - (known - dropped):
            raise invalid_query(f"Column {name} in SELECT * REPLACE list does not exist")
        kept = [one for one in items if (one.name or "").lower() not in dropped]
        if not kept:
            raise invalid_query("SELECT * EXCEPT list removes all columns")
        return [Item(one.name, replaced.get((one.name or "").lower(), one.expr)) for one in kept]

    # --- GROUP BY ---------------------------------------------------------------------------

    def _grouping(self, raw: list[exp.Expr]) -> list[Expr] | None:
        group = self._node.args.get("group")
        if group is None:
            return None
        reject_extra(group, "expressions", "all")
        clause = self._scope.narrowed("GROUP BY clause", aggregates=False, windows=False)
        if group.args.get("all"):
            items = [item for node in raw for item in self._expand(node)]
            return [one.expr for one in items if not one.expr.aggregates and not one.expr.constant]
        return [self._group_key(node, raw, clause) for node in self._group_nodes(group)]

    def _group_nodes(self, group: exp.Expr) -> list[exp.Expr]:
        """Return the keys, taken out of ROLLUP or CUBE when there is one."""
        nodes: list[exp.Expr] = group.expressions
        if len(nodes) == 1 and isinstance(nodes[0], exp.Rollup | exp.Cube):
            self._grouping_keyword = type(nodes[0]).__name__.upper()
            nodes = nodes[0].expressions
        for node in nodes:
            if isinstance(node, exp.Tuple | exp.Rollup | exp.Cube | exp.GroupingSets):
                raise not_implemented(f"GROUP BY {node.sql('bigquery')}")
        return nodes

    def _group_key(self, node: exp.Expr, raw: list[exp.Expr], clause: Scope) -> Expr:
        chosen = self._selected(node, raw)
        made = self._expressions.expr(node if chosen is None else chosen, clause)
        if made.type.element is not None or made.type.kind in {"STRUCT", "JSON"}:
            raise invalid_query(f"Grouping by expressions of type {made.type.kind} is not allowed")
        return made

    def _selected(self, node: exp.Expr, raw: list[exp.Expr]) -> exp.Expr | None:
        """Return the SELECT expression that an ordinal or alias stands for."""
        if isinstance(node, exp.Literal) and not node.is_string:
            number = int(node.this)
            if not 1 <= number <= len(raw):
                raise invalid_query(f"GROUP BY is out of SELECT column number range: {number}")
            if any(isinstance(one, exp.Star) for one in raw[:number]):
                raise not_implemented("GROUP BY ordinal together with *")
            return _inner(raw[number - 1])
        if isinstance(node, exp.Column) and len(node.parts) == 1:
            for one in raw:
                if isinstance(one, exp.Alias) and one.alias.lower() == node.name.lower():
                    return _inner(one)
        return None

    def group_by(self) -> str:
        """Return the DuckDB GROUP BY clause."""
        if not self._keys:
            return ""
        keys = ", ".join(one.sql for one in self._keys)
        return (
            f" GROUP BY {self._grouping_keyword} ({keys})"
            if self._grouping_keyword
            else (f" GROUP BY {keys}")
        )

    # --- clauses after grouping -------------------------------------------------------------

    def _aliased(self, where: str, *, windows: bool) -> Scope:
        names: dict[str, Expr] = {}
        for one in self._items:
            if one.name is not None:
                names.setdefault(one.name.lower(), one.expr)
        scope = self._scope.narrowed(where, aggregates=True, windows=windows)
        return replace(scope, aliases=names)

    def having(self) -> str:
        """HAVING, which may name SELECT aliases."""
        clause = self._node.args.get("having")
        if clause is None:
            return ""
        made = self._expressions.condition(
            clause.this, self._aliased("HAVING clause", windows=False)
        )
        self._check_grouped(made, "HAVING clause")
        return f" HAVING {made.sql}"

    def qualify(self) -> str:
        """QUALIFY, which may name SELECT aliases and needs an analytic function somewhere."""
        clause = self._node.args.get("qualify")
        if clause is None:
            return ""
        made = self._expressions.condition(
            clause.this, self._aliased("QUALIFY clause", windows=True)
        )
        if not made.windows and not any(one.expr.windows for one in self._items):
            raise invalid_query(
                "The QUALIFY clause requires analytic function to be present in the"
                " QUALIFY clause or the SELECT list."
            )
        self._check_grouped(made, "QUALIFY clause")
        return f" QUALIFY {made.sql}"

    def order_by(self, *, shaped: bool) -> str:
        """ORDER BY, by ordinals, aliases, columns or expressions."""
        from convergence_sandbox.bigquery.sql.select import direction

        clause = self._node.args.get("order")
        if clause is None:
            return ""
        scope = self._aliased("ORDER BY clause", windows=True)
        return " ORDER BY " + ", ".join(
            self._order_key(one.this, scope, shaped=shaped) + direction(one)
            for one in clause.expressions
        )

    def _order_key(self, node: exp.Expr, scope: Scope, *, shaped: bool) -> str:
        if isinstance(node, exp.Literal) and not node.is_string:
            number = int(node.this)
            if not 1 <= number <= len(self._items):
                raise invalid_query(f"ORDER BY is out of SELECT column number range: {number}")
            made = self._items[number - 1].expr
        else:
            made = self._expressions.expr(node, scope)
        if made.type.element is not None or made.type.kind in {"STRUCT", "JSON"}:
            raise invalid_query(f"ORDER BY does not support expressions of type {made.type.kind}")
        self._check_grouped(made, "ORDER BY clause")
        if shaped:
            return made.sql
        for index, one in enumerate(self._items, start=1):
            if one.expr.sql == made.sql:
                return str(index)
        if self._node.args.get("distinct") is not None:
            raise invalid_query(
                "ORDER BY clause expression references a column which is not"
                " visible after SELECT DISTINCT"
            )
        # A constant key orders nothing, and DuckDB would read a number as an ordinal.
        return f"({made.sql})"


def _inner(node: exp.Expr) -> exp.Expr:
    return node.this if isinstance(node, exp.Alias) else node


def _column_item(column: Column) -> Item:
    return Item(column.name, column.expr())


def _struct_items(base: Expr) -> list[Item]:
    if base.type.kind != "STRUCT":
        raise invalid_query(f"Dot-star is not supported for type {base.type}")
    items = []
    for stored, (name, kind) in zip(stored_names(base.type), base.type.fields, strict=True):
        made = replace(base, sql=f"struct_extract({base.sql}, '{stored}')", type=kind)
        items.append(Item(name, made))
    return items


def _implied_name(node: exp.Expr) -> str | None:
    if isinstance(node, exp.Paren):
        return _implied_name(node.this)
    if isinstance(node, exp.Column):
        return str(dotted_parts(node)[-1])
    if isinstance(node, exp.Dot) and isinstance(node.expression, exp.Identifier):
        return str(node.expression.name)
    return None
