"""Values on their way into columns: typed as the column, or rejected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlglot import exp

from convergence_sandbox.bigquery.errors import invalid_query, not_implemented
from convergence_sandbox.bigquery.resources.fields import Field
from convergence_sandbox.bigquery.resources.model import TableMeta
from convergence_sandbox.bigquery.sql.coerce import coerce, convert_sql, cost
from convergence_sandbox.bigquery.sql.expr import Expr, null_of
from convergence_sandbox.bigquery.sql.nodes import dotted_parts
from convergence_sandbox.bigquery.sql.scope import Scope
from convergence_sandbox.bigquery.sql.select import Query, QueryCompiler
from convergence_sandbox.bigquery.sql.types import SqlType, of_field


@dataclass(frozen=True, slots=True)
class Assignment:
    """One `column = value`."""

    column: Field
    value: Expr


def assigned(value: Expr, column: Field) -> Expr:
    """Return a value in its column's type.

    Raises:
        BigQueryError: it does not coerce to it.
    """
    kind = of_field(column)
    if cost(value, kind) is not None:
        return coerce(value, kind)
    if not _same_shape(value.type, kind):
        raise invalid_query(
            f"Value has type {value.type} which cannot be inserted into column {column.name},"
            f" which has type {kind}"
        )
    return value.retyped(convert_sql(value.sql, value.type, kind), kind)


def _same_shape(actual: SqlType, expected: SqlType) -> bool:
    """Return whether arrays and structs differ in field names only."""
    if actual.element is not None and expected.element is not None:
        return _same_shape(actual.element, expected.element)
    if actual.kind == expected.kind == "STRUCT":
        return len(actual.fields) == len(expected.fields) and all(
            _same_shape(one, other)
            for (_, one), (_, other) in zip(actual.fields, expected.fields, strict=True)
        )
    return actual == expected


def assigned_node(compiler: QueryCompiler, node: exp.Expr, column: Field, scope: Scope) -> Expr:
    """Return a value's syntax, DEFAULT included, in its column's type."""
    if isinstance(node, exp.Var) and node.name.upper() == "DEFAULT":
        return null_of(of_field(column))
    return assigned(compiler.expressions.expr(node, scope), column)


def assigned_output(made: Query, index: int, column: Field) -> Expr:
    """Return a query's output in a column's type; a literal there coerces as a literal does."""
    output = made.columns[index]
    value = output.literal
    if value is not None and (value.untyped_null or value.is_literal):
        return assigned(value, column)
    return assigned(Expr(made.stored(index), output.type, constant=False), column)


def values_row(
    compiler: QueryCompiler, row: exp.Expr, columns: Sequence[Field], scope: Scope
) -> list[Expr]:
    """Return one row of VALUES, typed as its columns."""
    actual = row.expressions if isinstance(row, exp.Tuple) else [row]
    reject_width(len(actual), len(columns))
    return [
        assigned_node(compiler, node, column, scope)
        for node, column in zip(actual, columns, strict=True)
    ]


def reject_width(actual: int, expected: int) -> None:
    """Reject a row with more or fewer values than columns."""
    if actual != expected:
        raise invalid_query(
            f"Inserted row has wrong column count; Has {actual}, expected {expected}"
        )


def named_columns(meta: TableMeta, names: Sequence[str]) -> list[Field]:
    """Return the columns an INSERT lists."""
    found: list[Field] = []
    for name in names:
        column = meta.schema.find(name)
        if column is None:
            raise invalid_query(f"Column {name} is not present in table {meta.ref}")
        if column in found:
            raise invalid_query(f"INSERT has columns with duplicate name: {name}")
        found.append(column)
    return found


def assignments(
    compiler: QueryCompiler, nodes: Sequence[exp.Expr], meta: TableMeta, scope: Scope
) -> list[Assignment]:
    """Return the SET list.

    Raises:
        BigQueryError: an unknown column, one set twice, or (501) a nested field.
    """
    made: list[Assignment] = []
    alias = (scope.relations[0].name or "").lower()
    for node in nodes:
        parts = dotted_parts(node.this)
        if len(parts) > 1 and parts[0].lower() == alias and meta.schema.find(parts[0]) is None:
            parts = parts[1:]
        if len(parts) > 1:
            raise not_implemented(f"UPDATE of the nested field {'.'.join(parts)}")
        column = meta.schema.find(parts[0])
        if column is None:
            raise invalid_query(f"Unrecognized name: {parts[0]}")
        if any(one.column == column for one in made):
            raise invalid_query(f"Update item {parts[0]} assigned more than once")
        made.append(Assignment(column, assigned_node(compiler, node.expression, column, scope)))
    return made
