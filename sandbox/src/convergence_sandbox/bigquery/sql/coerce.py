"""Implicit conversion: which type fits where, and the common type of several expressions.

https://cloud.google.com/bigquery/docs/reference/standard-sql/conversion_rules
"""

from __future__ import annotations

from collections.abc import Sequence

from convergence_sandbox.bigquery.errors import invalid_query
from convergence_sandbox.bigquery.sql.expr import Expr, null_of
from convergence_sandbox.bigquery.sql.literals import convert_literal, literal
from convergence_sandbox.bigquery.sql.types import FLOAT64, SqlType, quote, stored_names

_IMPLICIT = {
    "INT64": ("NUMERIC", "BIGNUMERIC", "FLOAT64"),
    "NUMERIC": ("BIGNUMERIC", "FLOAT64"),
    "BIGNUMERIC": ("FLOAT64",),
    "DATE": ("DATETIME",),
}
_LITERAL = {
    "STRING": ("DATE", "TIMESTAMP", "TIME", "DATETIME"),
    "FLOAT64": ("NUMERIC", "BIGNUMERIC"),
}


def cost(source: Expr, target_type: SqlType) -> int | None:
    """Return how far the expression is from the type: 0 equal, 1 and up coercible, None not at all.

    A literal that coerces is nearer than an expression that must be widened, which is why
    `numeric_column * 0.5` is NUMERIC.
    """
    if source.type == target_type or source.untyped_null or source.any_type:
        return 0
    if source.type.element is not None and target_type.element is not None:
        return _cost_of_elements(source, target_type.element)
    if source.type.kind == target_type.kind == "STRUCT":
        return _cost_of_fields(source, target_type)
    return _cost_of_scalar(source, target_type.kind)


def _cost_of_scalar(source: Expr, target_type: str) -> int | None:
    kind = source.type.kind
    if target_type in _IMPLICIT.get(kind, ()):
        distance = 1 + _IMPLICIT[kind].index(target_type)
        # A NUMERIC literal has a type of its own; an integer literal goes where it is requested.
        return distance if source.is_literal and kind in {"INT64", "DATE"} else 100 * distance
    if source.is_literal and target_type in _LITERAL.get(kind, ()):
        if source.is_parameter and kind != "STRING":
            return None
        return 5 + _LITERAL[kind].index(target_type)
    return None


def _cost_of_elements(source: Expr, target_type: SqlType) -> int | None:
    if not source.is_literal or source.type.element is None:
        return None
    values = source.literal or []
    costs = [cost(literal(value, source.type.element), target_type) for value in values]
    if any(one is None for one in costs):
        return None
    return max((one for one in costs if one is not None), default=1)


def _cost_of_fields(source: Expr, target_type: SqlType) -> int | None:
    if len(source.type.fields) != len(target_type.fields):
        return None
    total = 1
    for index, ((_, kind), (_, target)) in enumerate(
        zip(source.type.fields, target_type.fields, strict=True)
    ):
        if source.is_literal and source.literal is not None:
            part = literal(source.literal[index], kind)
        else:
            part = Expr("x", kind)
        one = cost(part, target)
        if one is None:
            return None
        total += one
    return total


def coerce(source: Expr, target_type: SqlType) -> Expr:
    """Return the expression in the requested type.

    Raises:
        BigQueryError: it does not coerce.
    """
    if source.type == target_type and not (source.untyped_null or source.any_type):
        return source
    if source.untyped_null:
        return null_of(target_type)
    if source.any_type:
        return source.retyped(f"CAST({source.sql} AS {target_type.duck})", target_type)
    if cost(source, target_type) is None:
        raise invalid_query(f"Cannot coerce expression of type {source.type} to type {target_type}")
    if source.is_literal and target_type.element is None and target_type.kind != "STRUCT":
        value = convert_literal(source.literal, source.type, target_type)
        made = literal(value, target_type, is_parameter=source.is_parameter)
        return source.retyped(made.sql, target_type, literal=value)
    return source.retyped(widen_sql(source, target_type), target_type)


def widen_sql(source: Expr, target_type: SqlType) -> str:
    """Return the DuckDB conversion between types that coerce implicitly."""
    return convert_sql(source.sql, source.type, target_type)


def convert_sql(sql: str, old: SqlType, new: SqlType, *, depth: int = 0) -> str:
    """Return the DuckDB expression of an implicit conversion, at any depth."""
    if old == new:
        return sql
    if old.element is not None and new.element is not None:
        name = f"c{depth}"
        inner = convert_sql(name, old.element, new.element, depth=depth + 1)
        return f"list_transform({sql}, lambda {name}: {inner})"
    if old.kind == new.kind == "STRUCT":
        pairs = zip(stored_names(old), stored_names(new), old.fields, new.fields, strict=True)
        parts = ", ".join(
            f"{quote(to)} := "
            + convert_sql(f"({sql}).{quote(name)}", old_kind, new_kind, depth=depth)
            for name, to, (_, old_kind), (_, new_kind) in pairs
        )
        return f"CASE WHEN ({sql}) IS NULL THEN NULL ELSE struct_pack({parts}) END"
    if new.kind == "BIGNUMERIC":
        exact = f"CAST({sql} AS DECIMAL(38,9))" if old.kind == "INT64" else sql
        return f"numeric_to_big({exact})" if old.kind != "FLOAT64" else f"float_to_big({sql})"
    if old.kind == "BIGNUMERIC":
        return f"big_to_float({sql})"
    return f"CAST({sql} AS {new.duck})"


def common_type(parts: Sequence[Expr]) -> SqlType | None:
    """Return the supertype of several expressions, or None when they have none."""
    typed = [part for part in parts if not (part.untyped_null or part.any_type)]
    if not typed:
        return parts[0].type if parts else None
    if all(part.type.kind == "STRUCT" for part in typed):
        return _common_struct(typed)
    candidates = list(dict.fromkeys(part.type for part in typed))
    candidates += [FLOAT64] if FLOAT64 not in candidates else []
    best: tuple[int, SqlType] | None = None
    for target_type in candidates:
        costs = [cost(part, target_type) for part in typed]
        total = sum(one for one in costs if one is not None)
        if all(one is not None for one in costs) and (best is None or total < best[0]):
            best = (total, target_type)
    return None if best is None else best[1]


def _common_struct(parts: Sequence[Expr]) -> SqlType | None:
    """Field by field, with the names of the first."""
    kinds = [part.type for part in parts]
    width = len(kinds[0].fields)
    if any(kind.kind != "STRUCT" or len(kind.fields) != width for kind in kinds):
        return None
    fields = []
    for index in range(width):
        column = [
            literal(part.literal[index], part.type.fields[index][1])
            if part.is_literal and part.literal is not None
            else Expr("x", part.type.fields[index][1])
            for part in parts
        ]
        found = common_type(column)
        if found is None:
            return None
        fields.append((kinds[0].fields[index][0], found))
    return SqlType("STRUCT", fields=tuple(fields))


def unify(parts: Sequence[Expr], *, what: str) -> tuple[list[Expr], SqlType]:
    """Return the expressions in their common type.

    Raises:
        BigQueryError: they have none; `what` names the construct in the message.
    """
    kind = common_type(parts)
    if kind is None:
        listed = ", ".join(str(part.type) for part in parts)
        raise invalid_query(f"No matching signature for {what} for argument types: {listed}")
    return [coerce(part, kind) for part in parts], kind
