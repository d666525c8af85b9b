"""The FROM clause: tables, views, subqueries, UNNEST, and how they join."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sqlglot import exp

from convergence_sandbox.bigquery.errors import invalid_query, not_implemented
from convergence_sandbox.bigquery.resources.model import TableMeta
from convergence_sandbox.bigquery.resources.partitions import INGESTION_COLUMN, partition_column
from convergence_sandbox.bigquery.sql.coerce import unify
from convergence_sandbox.bigquery.sql.context import Context, TableInstance
from convergence_sandbox.bigquery.sql.expr import Expr
from convergence_sandbox.bigquery.sql.nodes import conjuncts, reject_extra
from convergence_sandbox.bigquery.sql.scope import Column, Relation, Scope, access
from convergence_sandbox.bigquery.sql.types import (
    DATE,
    INT64,
    TIMESTAMP,
    SqlType,
    of_field,
    quote,
    stored_names,
)

if TYPE_CHECKING:
    from convergence_sandbox.bigquery.sql.expressions import ExpressionCompiler
    from convergence_sandbox.bigquery.sql.select import Query, QueryCompiler


@dataclass(frozen=True, slots=True)
class FromItem:
    """One compiled item: its DuckDB SQL and the relations it brings."""

    sql: str
    relations: tuple[Relation, ...]
    merged: tuple[tuple[str, Column], ...] = ()


class FromCompiler:
    """Compiles FROM clauses into one left-deep chain of joins."""

    def __init__(
        self, context: Context, queries: QueryCompiler, expressions: ExpressionCompiler
    ) -> None:
        self.context = context
        self.queries = queries
        self.expressions = expressions

    def from_clause(self, node: exp.Expr, scope: Scope) -> str:
        """Compile FROM and its joins, filling the scope; the SQL begins with FROM, or is empty."""
        source = node.args.get("from_")
        if source is None:
            if node.args.get("joins"):
                raise invalid_query("A JOIN needs a FROM clause")
            return ""
        first = self.item(source.this, scope)
        scope.relations.extend(first.relations)
        scope.merged.update(first.merged)
        sql = self.joined(first.sql, node.args.get("joins") or [], scope)
        _reject_duplicates(scope.relations)
        return f" FROM {sql}"

    def joined(self, sql: str, joins: list[exp.Expr], scope: Scope) -> str:
        """Return the chain with these joins appended, the scope filled by them."""
        for join in joins:
            sql = self._join(sql, join, scope)
        return sql

    def _join(self, left: str, node: exp.Expr, scope: Scope) -> str:
        reject_extra(node, "this", "side", "kind", "on", "using")
        side = str(node.args.get("side") or "").upper()
        kind = str(node.args.get("kind") or "").upper()
        if kind not in {"", "INNER", "CROSS", "OUTER"} or side not in {"", "LEFT", "RIGHT", "FULL"}:
            raise not_implemented(f"{side} {kind} JOIN".strip())
        before = list(scope.relations)
        item = self.item(node.this, scope)
        using, condition = node.args.get("using"), node.args.get("on")
        if using is None and condition is None:
            if side or kind == "INNER":
                if not isinstance(node.this, exp.Unnest) or side in {"RIGHT", "FULL"}:
                    raise invalid_query(
                        f"{side or 'INNER'} JOIN must have an immediately following"
                        " ON or USING clause"
                    )
                scope.relations.extend(item.relations)
                keyword = "LEFT JOIN" if side else "JOIN"
                return f"{left} {keyword} {item.sql} ON TRUE"
            scope.relations.extend(item.relations)
            scope.merged.update(item.merged)
            return f"{left} CROSS JOIN {item.sql}"
        keyword = f"{side} JOIN" if side else "JOIN"
        if using is not None:
            on = self._using(using, before, item, side, scope)
            scope.relations.extend(item.relations)
            return f"{left} {keyword} {item.sql} ON {on}"
        scope.relations.extend(item.relations)
        if condition is None:
            raise invalid_query(f"{keyword} must have an ON or USING clause")
        clause = scope.narrowed("JOIN ON clause", aggregates=False, windows=False)
        return f"{left} {keyword} {item.sql} ON {self.filter(condition, clause)}"

    def filter(self, condition: exp.Expr, scope: Scope) -> str:
        """Return a WHERE or ON condition, noting which partitions it leaves."""
        parts = []
        for node in conjuncts(condition):
            made = self.expressions.condition(node, scope)
            parts.append(made.sql)
            for number in made.prunes:
                instance = self.context.instances[number]
                instance.filtered = True
                if made.free and all(
                    one.startswith(f"{quote(instance.alias)}.") for one in made.free
                ):
                    instance.filters.append(made.sql)
        return " AND ".join(parts)

    def _using(
        self,
        names: list[exp.Expr],
        before: list[Relation],
        item: FromItem,
        side: str,
        scope: Scope,
    ) -> str:
        parts = []
        for name in (one.name for one in names):
            left = self._using_column(name, before, scope.merged, "left")
            right = self._using_column(name, list(item.relations), dict(item.merged), "right")
            both = [left.expr(), right.expr()]
            (one, other), kind = unify(both, what=f"JOIN USING {name}")
            parts.append(f"{one.sql} = {other.sql}")
            sql = {"RIGHT": other.sql, "FULL": f"coalesce({one.sql}, {other.sql})"}.get(
                side, one.sql
            )
            origins = right.origins if side == "RIGHT" else left.origins
            scope.merged[name.lower()] = Column(name, kind, sql, origins=origins)
        return " AND ".join(parts)

    def _using_column(
        self, name: str, relations: list[Relation], merged: dict[str, Column], side: str
    ) -> Column:
        if name.lower() in merged:
            return merged[name.lower()]
        found = [column for one in relations for column in one.find(name)]
        if len(found) != 1:
            fault = "not found" if not found else "ambiguous"
            raise invalid_query(f"Column {name} in USING clause {fault} on {side} side of join")
        return found[0]

    # --- items ------------------------------------------------------------------------------

    def item(self, node: exp.Expr, scope: Scope) -> FromItem:
        """Return one table expression; UNNEST sees the relations before it."""
        if isinstance(node, exp.Unnest):
            return self._unnest(node, scope)
        if isinstance(node, exp.Table):
            return self._table_with_joins(node, scope)
        if isinstance(node, exp.Subquery):
            return self._derived(node, scope)
        if isinstance(node, exp.Paren):
            return self.item(node.this, scope)
        raise not_implemented(f"{type(node).__name__} in FROM: {node.sql('bigquery')}")

    def _table_with_joins(self, node: exp.Table, scope: Scope) -> FromItem:
        item = self._table(node, scope)
        joins = node.args.get("joins") or []
        if not joins:
            return item
        inner = Scope(
            relations=list(item.relations),
            parent=scope.parent,
            windows=scope.windows,
            outer=scope.outer,
        )
        sql = self.joined(item.sql, joins, inner)
        return FromItem(f"({sql})", tuple(inner.relations), tuple(inner.merged.items()))

    def _table(self, node: exp.Table, scope: Scope) -> FromItem:
        reject_extra(node, "this", "db", "catalog", "alias", "joins")
        if not isinstance(node.this, exp.Identifier):
            raise not_implemented(f"table function {node.this.sql('bigquery')}")
        parts = [part.name for part in node.parts]
        alias = node.args.get("alias")
        if alias is not None:
            reject_extra(alias, "this")
        name = alias.this.name if alias is not None and alias.this is not None else None
        if len(parts) > 1 and scope.knows_relation(parts[0]):
            return self._unnest_value(self._path(parts, scope), name or parts[-1], None)
        if len(parts) == 1:
            made = self.queries.cte(parts[0])
            if made is not None:
                return self.derived(made, name or parts[0])
        return self.table(parts, name)

    def _path(self, parts: list[str], scope: Scope) -> Expr:
        base, rest = scope.resolve(parts)
        return access(base, rest)

    def table(self, parts: list[str], name: str | None) -> FromItem:
        """Return a table, view or INFORMATION_SCHEMA view by its name."""
        if parts[-1].upper().startswith("INFORMATION_SCHEMA."):
            made = self.queries.information_schema(parts)
            return self.derived(made, name or parts[-1].partition(".")[2])
        temporary = self.context.temporary.get(parts[0].lower()) if len(parts) == 1 else None
        if temporary is not None:
            return self._stored(temporary, name or parts[-1], tuple(parts))
        if parts[-1].endswith("*"):
            raise not_implemented(f"wildcard table {'.'.join(parts)}")
        ref = self.context.table_ref(parts)
        if "$" in ref.table:
            raise not_implemented(f"partition decorator in a query: {ref}")
        meta = self.context.snapshot.table(ref)
        self.context.referenced[ref] = None
        if meta.is_view:
            return self.derived(self.queries.view(meta), name or parts[-1])
        return self._stored(meta, name or parts[-1], tuple(parts))

    def _stored(self, meta: TableMeta, name: str, path: tuple[str, ...]) -> FromItem:
        alias = self.context.alias()
        number = len(self.context.instances)
        partition = partition_column(meta)
        columns = [
            Column(
                field.name,
                of_field(field),
                f"{quote(alias)}.{quote(field.name)}",
                origins=frozenset((number,))
                if partition is not None and field.name.lower() == partition.lower()
                else frozenset(),
            )
            for field in meta.schema.fields
        ]
        if meta.by_ingestion:
            columns += _ingestion_columns(alias, number)
        relation = Relation(name, tuple(columns), instance=number, path=path)
        instance = TableInstance(meta, alias, columns=relation.used)
        self.context.instances.append(instance)
        schema = "temp" if meta.is_temporary else "data"
        return FromItem(f"{schema}.{quote(meta.physical)} AS {quote(alias)}", (relation,))

    def derived(self, made: Query, name: str | None) -> FromItem:
        """Return a compiled query as a relation."""
        alias = self.context.alias()
        columns = tuple(
            Column(
                one.name,
                one.type,
                f"{quote(alias)}.{quote(made.stored(index))}",
                origins=one.origins,
            )
            for index, one in enumerate(made.columns)
        )
        if made.value_table:
            return FromItem(
                f"({made.sql}) AS {quote(alias)}",
                (_value_relation(name, columns[0].type, columns[0].sql),),
            )
        sql = f"({made.sql})" if made.cte is None else quote(made.cte)
        return FromItem(f"{sql} AS {quote(alias)}", (Relation(name, columns),))

    def _derived(self, node: exp.Subquery, scope: Scope) -> FromItem:
        reject_extra(node, "this", "alias", "with_", "joins")
        inner = node.this
        if isinstance(inner, exp.Table | exp.Subquery) and not isinstance(inner, exp.Query):
            return self.item(inner, scope)
        alias = node.args.get("alias")
        name = alias.this.name if alias is not None and alias.this is not None else None
        if isinstance(inner, exp.Table):
            return self._table_with_joins(inner, scope)
        made = self.queries.query(inner, parent=scope.parent)
        scope.outer |= made.outer
        return self.derived(made, name)

    def _unnest(self, node: exp.Unnest, scope: Scope) -> FromItem:
        reject_extra(node, "expressions", "alias", "offset", "explode_array")
        if len(node.expressions) != 1:
            raise not_implemented("UNNEST of several arrays")
        clause = scope.narrowed("UNNEST", aggregates=False, windows=False)
        value = self.expressions.expr(node.expressions[0], clause)
        alias, offset = node.args.get("alias"), node.args.get("offset")
        name = None
        if alias is not None:
            alias_name = alias.this or (alias.args.get("columns") or [None])[0]
            name = None if alias_name is None else alias_name.name
        if offset is not None and offset is not False:
            offset = offset.name if isinstance(offset, exp.Expr) else "offset"
        else:
            offset = None
        return self._unnest_value(value, name, offset)

    def _unnest_value(self, value: Expr, name: str | None, offset: str | None) -> FromItem:
        if value.type.element is None:
            raise invalid_query(
                "Values referenced in UNNEST must be arrays. UNNEST contains"
                f" expression of type {value.type}"
            )
        alias = self.context.alias()
        sql = f"unnest({value.sql}) AS v"
        relations = [_value_relation(name, value.type.element, f"{quote(alias)}.v")]
        if offset is not None:
            sql += f", unnest(range(len({value.sql}))) AS o"
            relations.append(Relation(None, (Column(offset, INT64, f"{quote(alias)}.o"),)))
        return FromItem(f"LATERAL (SELECT {sql}) AS {quote(alias)}", tuple(relations))


def _value_relation(name: str | None, kind: SqlType, sql: str) -> Relation:
    """Return a relation whose rows are values: struct fields show as columns."""
    value = Column(name, kind, sql)
    if kind.kind != "STRUCT":
        return Relation(name, (value,), value=value)
    columns = tuple(
        Column(field_name, one, f"struct_extract({sql}, '{stored}')")
        for stored, (field_name, one) in zip(stored_names(kind), kind.fields, strict=True)
    )
    return Relation(name, columns, value=value)


def _ingestion_columns(alias: str, number: int) -> list[Column]:
    sql = f"{quote(alias)}.{quote(INGESTION_COLUMN)}"
    origins = frozenset((number,))
    return [
        Column(INGESTION_COLUMN, TIMESTAMP, sql, origins=origins, hidden=True),
        Column(
            "_PARTITIONDATE",
            DATE,
            f"CAST(CAST({sql} AS TIMESTAMP) AS DATE)",
            origins=origins,
            hidden=True,
        ),
    ]


def _reject_duplicates(relations: list[Relation]) -> None:
    seen: set[str] = set()
    for name in (one.name.lower() for one in relations if one.name is not None):
        if name in seen:
            raise invalid_query(f"Duplicate table alias {name} in the same FROM clause")
        seen.add(name)


__all__ = ["FromCompiler", "FromItem", "replace"]
