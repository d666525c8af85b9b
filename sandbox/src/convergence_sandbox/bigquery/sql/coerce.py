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


def cost(given: Expr, wanted: SqlType) -> int | None:
    """How far the expression is from the type: 0 equal, 1 and up coercible, None not at all.

    A literal that coerces is nearer than an expression that must be widened, which is why
    `numeric_column * 0.5` is NUMERIC.
    """
    if given.type == wanted or given.untyped_null or given.any_type:
        return 0
    if given.type.element is not None and wanted.element is not None:
        return _cost_of_elements(given, wanted.element)
    if given.type.kind == wanted.kind == "STRUCT":
        return _cost_of_fields(given, wanted)
    return _cost_of_scalar(given, wanted.kind)


def _cost_of_scalar(given: Expr, wanted: str) -> int | None:
    kind = given.type.kind
    if wanted in _IMPLICIT.get(kind, ()):
        distance = 1 + _IMPLICIT[kind].index(wanted)
        # A NUMERIC literal has a type of its own; an integer literal goes where it is wanted.
        return distance if given.is_literal and kind in {"INT64", "DATE"} else 100 * distance
    if given.is_literal and wanted in _LITERAL.get(kind, ()):
        if given.is_parameter and kind != "STRING":
            return None
        return 5 + _LITERAL[kind].index(wanted)
    return None


def _cost_of_elements(given: Expr, wanted: SqlType) -> int | None:
    if not given.is_literal or given.type.element is None:
        return None
    values = given.literal or []
    costs = [cost(literal(value, given.type.element), wanted) for value in values]
    if any(one is None for one in costs):
        return None
    return max((one for one in costs if one is not None), default=1)


def _cost_of_fields(given: Expr, wanted: SqlType) -> int | None:
    if len(given.type.fields) != len(wanted.fields):
        return None
    total = 1
    for index, ((_, kind), (_, target)) in enumerate(
        zip(given.type.fields, wanted.fields, strict=True)
    ):
        if given.is_literal and given.literal is not None:
            part = literal(given.literal[index], kind)
        else:
            part = Expr("x", kind)
        one = cost(part, target)
        if one is None:
            return None
        total += one
    return total


def coerce(given: Expr, wanted: SqlType) -> Expr:
    """The expression in the wanted type.

    Raises:
        BigQueryError: it does not coerce.
    """
    if given.type == wanted and not (given.untyped_null or given.any_type):
        return given
    if given.untyped_null:
        return null_of(wanted)
    if given.any_type:
        return given.retyped(f"CAST({given.sql} AS {wanted.duck})", wanted)
    if cost(given, wanted) is None:
        raise invalid_query(f"Cannot coerce expression of type {given.type} to type {wanted}")
    if given.is_literal and wanted.element is None and wanted.kind != "STRUCT":
        value = convert_literal(given.literal, given.type, wanted)
        made = literal(value, wanted, is_parameter=given.is_parameter)
        return given.retyped(made.sql, wanted, literal=value)
    return given.retyped(widen_sql(given, wanted), wanted)


def widen_sql(given: Expr, wanted: SqlType) -> str:
    """The DuckDB conversion between types that coerce implicitly."""
    return convert_sql(given.sql, given.type, wanted)


def convert_sql(sql: str, old: SqlType, new: SqlType, *, depth: int = 0) -> str:
    """The DuckDB expression of an implicit conversion, at any depth."""
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
    """The supertype of several expressions, or None when they have none."""
    typed = [part for part in parts if not (part.untyped_null or part.any_type)]
    if not typed:
        return parts[0].type if parts else None
    if all(part.type.kind == "STRUCT" for part in typed):
        return _common_struct(typed)
    candidates = list(dict.fromkeys(part.type for part in typed))
    candidates += [FLOAT64] if FLOAT64 not in candidates else []
    best: tuple[int, SqlType] | None = None
    for wanted in candidates:
        costs = [cost(part, wanted) for part in typed]
        total = sum(one for one in costs if one is not None)
        if all(one is not None for one in costs) and (best is None or total < best[0]):
            best = (total, wanted)
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
    """The expressions in their common type.

    Raises:
        BigQueryError: they have none; `what` names the construct in the message.
    """
    kind = common_type(parts)
    if kind is None:
        listed = ", ".join(str(part.type) for part in parts)
        raise invalid_query(f"No matching signature for {what} for argument types: {listed}")
    return [coerce(part, kind) for part in parts], kind
