"""Column definitions and OPTIONS of DDL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlglot import exp

from convergence_sandbox.bigquery.errors import invalid_query, not_implemented
from convergence_sandbox.bigquery.resources.fields import Field, checked_field, reject_duplicates
from convergence_sandbox.bigquery.sql.casts import declared_type
from convergence_sandbox.bigquery.sql.literals import parse_text
from convergence_sandbox.bigquery.sql.types import TIMESTAMP, to_field


def columns_of(nodes: Sequence[exp.Expr]) -> tuple[Field, ...]:
    """Return the columns that CREATE TABLE lists."""
    for node in nodes:
        if not isinstance(node, exp.ColumnDef):
            raise not_implemented(f"table constraint {node.sql('bigquery')}")
    fields = tuple(field_of(node) for node in nodes)
    reject_duplicates(fields)
    return fields


def field_of(node: exp.Expr) -> Field:
    """Return one column: its type, NOT NULL, OPTIONS(description = …)."""
    field = _typed(node.name, node.args["kind"])
    for constraint in node.args.get("constraints") or []:
        kind = constraint.args.get("kind")
        if isinstance(kind, exp.NotNullColumnConstraint) and not kind.args.get("allow_null"):
            if field.mode == "REPEATED":
                raise invalid_query(
                    f"NOT NULL constraint is not allowed on ARRAY column {field.name}"
                )
            field = replace(field, mode="REQUIRED")
        elif isinstance(kind, exp.Properties):
            field = _with_options(field, options_of(kind.expressions))
        else:
            raise not_implemented(f"column constraint {constraint.sql('bigquery')}")
    return checked_field(field)


def _with_options(field: Field, options: dict[str, Any]) -> Field:
    description = options.pop("description", field.description)
    for name in options:
        raise not_implemented(f"column option {name}")
    return replace(field, description=description)


def _typed(name: str, node: exp.Expr) -> Field:
    """Return a column of the declared type, its nested columns' own constraints kept."""
    if node.this == exp.DType.ARRAY and len(node.expressions) == 1:
        inner = _typed(name, node.expressions[0])
        if inner.mode == "REPEATED":
            raise invalid_query("ARRAY of ARRAY is not a column type")
        return replace(inner, mode="REPEATED")
    if node.this == exp.DType.STRUCT:
        return Field(name, "RECORD", fields=columns_of(node.expressions))
    kind, limits = declared_type(node)
    field = to_field(name, kind)
    numbers = limits.numbers
    if not numbers:
        return field
    if field.type in {"STRING", "BYTES"}:
        return replace(field, max_length=numbers[0])
    if field.type in {"NUMERIC", "BIGNUMERIC"}:
        return replace(field, precision=numbers[0], scale=numbers[1] if len(numbers) > 1 else None)
    raise invalid_query(f"{field.type} does not take type parameters")


_NOT_OPTIONS = (exp.PartitionedByProperty, exp.ClusterProperty, exp.Cluster, exp.TemporaryProperty)


def options_of(nodes: Sequence[exp.Expr]) -> dict[str, Any]:
    """OPTIONS(name = value, …) by lower-case name; times in microseconds.

    Properties that are no options (PARTITION BY, CLUSTER BY, TEMP) are left to their readers.
    """
    made: dict[str, Any] = {}
    for node in nodes:
        # PARTITION BY and its kin are subclasses of Property.
        if type(node) is exp.Property:
            made[node.this.name.lower()] = _value(node.args["value"])
        elif isinstance(node, exp.LocationProperty):
            made["location"] = _value(node.this)
        elif not isinstance(node, _NOT_OPTIONS):
            raise not_implemented(f"table property {node.sql('bigquery')}")
    return made


def _value(node: exp.Expr) -> Any:  # noqa: ANN401  # options hold any literal
    if isinstance(node, exp.Literal):
        return str(node.this) if node.is_string else float(node.this)
    if isinstance(node, exp.Boolean):
        return bool(node.this)
    if isinstance(node, exp.Null):
        return None
    if isinstance(node, exp.Array | exp.Tuple):
        return tuple(_value(one) for one in node.expressions)
    if isinstance(node, exp.Cast) and isinstance(node.this, exp.Literal):
        kind, _ = declared_type(node.args["to"])
        if kind == TIMESTAMP:
            return parse_text(str(node.this.this), TIMESTAMP)
    raise not_implemented(f"option value {node.sql('bigquery')}")
