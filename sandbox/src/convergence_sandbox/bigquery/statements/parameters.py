"""Query parameters: BigQuery's REST form into typed literals.

https://cloud.google.com/bigquery/docs/reference/rest/v2/QueryParameter
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any

from convergence_sandbox.bigquery.errors import (
    BigQueryError,
    invalid,
    invalid_query,
    not_implemented,
)
from convergence_sandbox.bigquery.sql.expr import Expr
from convergence_sandbox.bigquery.sql.literals import Value, literal, parse_text
from convergence_sandbox.bigquery.sql.types import SqlType, array, named, struct

Json = Mapping[str, Any]


def read_parameters(parameters: Sequence[Json], *, mode: str) -> dict[str, Expr]:
    """Parameters by lower-case name; positional ones are called `__position_0`, ….

    Raises:
        BigQueryError: a type or value that is malformed; a name missing or given twice.
    """
    made: dict[str, Expr] = {}
    for index, one in enumerate(parameters):
        name = f"__position_{index}" if mode.upper() == "POSITIONAL" else str(one.get("name") or "")
        if not name:
            raise invalid("Query parameter name is missing")
        if name.lower() in made:
            raise invalid(f"Duplicate query parameter {name}")
        kind = parameter_type(one.get("parameterType") or {})
        try:
            value = parameter_value(one.get("parameterValue") or {}, kind)
        except BigQueryError as error:
            raise invalid_query(
                f"Invalid value for query parameter {name}: {error.message}"
            ) from None
        made[name.lower()] = literal(value, kind, is_parameter=True)
    return made


def parameter_type(data: Json) -> SqlType:
    """Return a `QueryParameterType`."""
    name = str(data.get("type") or "").upper()
    if name == "ARRAY":
        return array(parameter_type(data.get("arrayType") or {}))
    if name in {"STRUCT", "RECORD"}:
        return struct(
            [
                (one.get("name") or None, parameter_type(one.get("type") or {}))
                for one in data.get("structTypes") or ()
            ]
        )
    kind = named(name)
    if kind is None:
        raise invalid(f"Invalid value for parameter type: {name or None}")
    if kind.kind == "INTERVAL":
        raise not_implemented("parameters of type INTERVAL")
    return kind


def parameter_value(data: Json, kind: SqlType) -> Value:
    """Return a `QueryParameterValue` as the Python value of its type; None is NULL."""
    if kind.element is not None:
        values = data.get("arrayValues")
        return (
            None
            if values is None and "value" in data
            else [parameter_value(one, kind.element) for one in values or ()]
        )
    if kind.kind == "STRUCT":
        supplied = data.get("structValues")
        if supplied is None:
            return None
        return [parameter_value(supplied.get(name or "", {}), one) for name, one in kind.fields]
    text = data.get("value")
    if text is None:
        return None
    if kind.kind == "BYTES":
        try:
            return base64.b64decode(str(text), validate=True)
        except binascii.Error:
            raise invalid("not base64") from None
    return parse_text(str(text), kind)
