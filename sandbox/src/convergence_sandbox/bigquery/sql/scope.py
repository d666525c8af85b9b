"""Names: what a column reference means where it stands.

Every relation of a FROM clause gets an alias of our own (`t1`, `t2`, …), and every reference is
written with it, so that DuckDB never resolves a name by its own rules.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from sqlglot import exp

from convergence_sandbox.bigquery.errors import invalid_query
from convergence_sandbox.bigquery.sql.expr import NOTHING, Expr, combine
from convergence_sandbox.bigquery.sql.types import SqlType, quote, stored_names, struct


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a relation: its GoogleSQL name (None when anonymous), type, and DuckDB SQL."""

    name: str | None
    type: SqlType
    sql: str
    origins: frozenset[int] = NOTHING
    hidden: bool = False

    def expr(self) -> Expr:
        """Return a reference to it."""
        return Expr(
            self.sql,
            self.type,
            free=frozenset((self.sql,)),
            origins=self.origins,
            constant=False,
            name=self.name,
        )


@dataclass(frozen=True, slots=True)
class Relation:
    """One item of a FROM clause.

    Attributes:
        name: the alias it goes by, or None.
        columns: in order; hidden ones (pseudo columns) are left out of `*`.
        value: for UNNEST and SELECT AS VALUE, the element itself, which the alias denotes.
        instance: the number of the table instance, for tables.
        path: a table's own name parts, by which it may also be called.
        used: names of the columns that were referenced, collected while compiling.
    """

    name: str | None
    columns: tuple[Column, ...]
    value: Column | None = None
    instance: int | None = None
    path: tuple[str, ...] = ()
    used: set[str] = field(default_factory=set)

    def find(self, name: str) -> list[Column]:
        """Return the columns of that name."""
        lower = name.lower()
        found = [one for one in self.columns if one.name is not None and one.name.lower() == lower]
        self.used.update(one.name for one in found if one.name is not None)
        return found

    def visible(self) -> list[Column]:
        """Return the columns of `*`."""
        found = [one for one in self.columns if not one.hidden]
        self.used.update(one.name for one in found if one.name is not None)
        return found

    def names(self) -> list[str | None]:
        """Return the names of the columns of `*`, without counting them as used."""
        return [one.name for one in self.columns if not one.hidden]

    def row(self) -> Expr:
        """Return the relation's row as one value."""
        if self.value is not None:
            return self.value.expr()
        columns = self.visible()
        kind = struct([(one.name, one.type) for one in columns])
        parts = ", ".join(
            f"{quote(name)} := {one.sql}"
            for name, one in zip(stored_names(kind), columns, strict=True)
        )
        return combine(f"struct_pack({parts})", kind, [one.expr() for one in columns])


@dataclass(slots=True)
class Scope:
    """The names visible to the expressions of one SELECT.

    Attributes:
        relations: the FROM clause so far.
        parent: the enclosing query's scope, for correlated subqueries.
        merged: columns that JOIN … USING made one of two.
        aliases: SELECT-list expressions by alias, where they may be used.
        windows: named windows of the query.
        group_keys: SQL of the GROUP BY expressions; None when the query does not group.
        where: the clause being compiled, for messages.
        outer: columns of enclosing queries that were referenced from here.
    """

    relations: list[Relation] = field(default_factory=list)
    parent: Scope | None = None
    merged: dict[str, Column] = field(default_factory=dict)
    aliases: Mapping[str, Expr] = field(default_factory=dict)
    windows: Mapping[str, exp.Expr] = field(default_factory=dict)
    group_keys: dict[str, Expr] | None = None
    where: str = "SELECT list"
    allow_aggregates: bool = True
    allow_windows: bool = True
    outer: set[str] = field(default_factory=set)

    def narrowed(self, where: str, *, aggregates: bool, windows: bool) -> Scope:
        """Return the same names in a clause that allows fewer functions."""
        return replace(self, where=where, allow_aggregates=aggregates, allow_windows=windows)

    def resolve(self, parts: list[str]) -> tuple[Expr, list[str]]:
        """Return the meaning of the longest prefix of a dotted name, and the parts that remain.

        Raises:
            BigQueryError: the name is unknown or ambiguous.
        """
        found = self._resolve_here(parts)
        if found is not None:
            return found
        crossed, scope = [self], self.parent
        while scope is not None:
            found = scope._resolve_here(parts)  # noqa: SLF001  # the same class
            if found is not None:
                for one in crossed:
                    one.outer |= found[0].free
                return found
            crossed.append(scope)
            scope = scope.parent
        raise self._unknown(parts)

    def _resolve_here(self, parts: list[str]) -> tuple[Expr, list[str]] | None:
        head, rest = parts[0], parts[1:]
        if head.lower() in self.aliases:
            return self.aliases[head.lower()], rest
        relation = self._relation(parts)
        if relation is not None:
            return self._in_relation(*relation)
        if head.lower() in self.merged:
            return self.merged[head.lower()].expr(), rest
        columns = [one for relation in self.relations for one in relation.find(head)]
        if len(columns) > 1:
            raise invalid_query(f"Column name {head} is ambiguous")
        return (columns[0].expr(), rest) if columns else None

    def _relation(self, parts: list[str]) -> tuple[Relation, list[str]] | None:
        for one in self.relations:
            if one.name is not None and one.name.lower() == parts[0].lower():
                return one, parts[1:]
        for one in self.relations:
            size = len(one.path)
            if size and len(parts) > size and tuple(parts[:size]) == one.path:
                return one, parts[size:]
        return None

    def _in_relation(self, relation: Relation, rest: list[str]) -> tuple[Expr, list[str]]:
        if not rest:
            return relation.row(), rest
        if relation.value is not None and relation.value.type.kind != "STRUCT":
            return relation.value.expr(), rest
        columns = relation.find(rest[0])
        if len(columns) > 1:
            raise invalid_query(f"Column name {rest[0]} is ambiguous in {relation.name}")
        if not columns:
            hint = suggestion(rest[0], relation.names())
            raise invalid_query(f"Name {rest[0]} not found inside {relation.name}{hint}")
        return columns[0].expr(), rest[1:]

    def _unknown(self, parts: list[str]) -> Exception:
        names = [name for relation in self.relations for name in relation.names()]
        names += [relation.name for relation in self.relations]
        hint = suggestion(parts[0], names)
        return invalid_query(f"Unrecognized name: {parts[0]}{hint}")

    def knows_relation(self, name: str) -> bool:
        """Return whether a FROM item here or in an enclosing query goes by that name."""
        requested = name.lower()
        if any(one.name is not None and one.name.lower() == requested for one in self.relations):
            return True
        return self.parent is not None and self.parent.knows_relation(name)

    def stars(self) -> Iterator[Column]:
        """Yield the columns of `SELECT *`; a USING column comes once, first."""
        yield from self.merged.values()
        for relation in self.relations:
            for one in relation.visible():
                if one.name is None or one.name.lower() not in self.merged:
                    yield one


def suggestion(name: str, known: Iterable[str | None]) -> str:
    """`; Did you mean x?` when some known name is near."""
    near = difflib.get_close_matches(name, [one for one in known if one], n=1, cutoff=0.7)
    return f"; Did you mean {near[0]}?" if near else ""


def access(base: Expr, names: list[str]) -> Expr:
    """Struct fields, one after another.

    Raises:
        BigQueryError: a field does not exist, or the value is no struct.
    """
    for name in names:
        base = _select_field(base, name)
    return base


def _select_field(base: Expr, name: str) -> Expr:
    if base.type.kind == "JSON":
        path = "$." + '"' + name.replace('"', '\\"') + '"'
        return replace(
            combine(
                f"json_extract({base.sql}, '{path.replace(chr(39), chr(39) * 2)}')",
                base.type,
                [base],
            ),
            name=name,
        )
    if base.type.element is not None:
        raise invalid_query(f"Cannot access field {name} on a value with type {base.type}")
    if base.type.kind != "STRUCT":
        raise invalid_query(f"Cannot access field {name} on a value with type {base.type}")
    matching = [
        (stored, kind)
        for stored, (field, kind) in zip(stored_names(base.type), base.type.fields, strict=True)
        if field is not None and field.lower() == name.lower()
    ]
    if not matching:
        hint = suggestion(name, (field for field, _ in base.type.fields))
        raise invalid_query(f"Field name {name} does not exist in {base.type}{hint}")
    if len(matching) > 1:
        raise invalid_query(f"Struct field name {name} is ambiguous")
    stored, kind = matching[0]
    made = combine(
        f"struct_extract({base.sql}, '{stored.replace(chr(39), chr(39) * 2)}')", kind, [base]
    )
    return replace(made, name=name)
