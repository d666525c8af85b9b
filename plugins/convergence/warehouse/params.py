"""Convert Python values to BigQuery query parameters, the only way that values reach SQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Final, TypeAlias

from google.cloud import bigquery

from convergence.errors import ConfigurationError

Param: TypeAlias = object
"""str, int, bool, Decimal, date, datetime, bytes, a mapping of these (STRUCT), a list, or Typed."""

_Scalar: TypeAlias = Any  # the client's own hint leaves bytes out
_Parameter: TypeAlias = (
    bigquery.ScalarQueryParameter | bigquery.ArrayQueryParameter | bigquery.StructQueryParameter
)

# The order matters: bool is an int, datetime is a date.
_TYPES: Final[tuple[tuple[type, str], ...]] = (
    (str, "STRING"),
    (bool, "BOOL"),
    (int, "INT64"),
    (Decimal, "NUMERIC"),
    (datetime, "TIMESTAMP"),
    (date, "DATE"),
    (bytes, "BYTES"),
)
_NUMERIC_DECIMALS = 9
_NUMERIC_DIGITS = 29


@dataclass(frozen=True, slots=True)
class Typed:
    """A value with an explicit type: a NULL, an empty list, JSON or BIGNUMERIC."""

    value: _Scalar
    sql_type: str


def typed(value: _Scalar, sql_type: str) -> Typed:
    """Set the type of a value: `typed(None, "DATE")`, `typed([], "STRING")`."""
    return Typed(value, sql_type)


def query_parameters(params: Mapping[str, Param]) -> list[_Parameter]:
    """Return the client's parameter objects, in the order of their names.

    Raises:
        ConfigurationError: a value has no BigQuery type or would not arrive unchanged (a float,
            a naive datetime, a NULL without type, a decimal that NUMERIC would round).
    """
    return [_build_parameter(name, params[name]) for name in sorted(params)]


def _build_parameter(name: str | None, value: Param) -> _Parameter:
    if isinstance(value, Typed):
        if isinstance(value.value, list | tuple):
            return bigquery.ArrayQueryParameter(name, value.sql_type, list(value.value))
        return bigquery.ScalarQueryParameter(name, value.sql_type, value.value)
    if isinstance(value, Mapping):
        fields = [_build_parameter(key, inner) for key, inner in value.items()]
        return bigquery.StructQueryParameter(name, *fields)
    if isinstance(value, list | tuple | set | frozenset):
        return _build_array(name, list(value))
    return bigquery.ScalarQueryParameter(name, _type_of(name, value), _check_value(name, value))


def _build_array(name: str | None, values: Sequence[Param]) -> _Parameter:
    if not values:
        raise ConfigurationError("An empty list needs a type: typed([], …)", param=name)
    if isinstance(values[0], Mapping):
        structs = [_build_parameter(None, value) for value in values]
        return bigquery.ArrayQueryParameter(name, "STRUCT", structs)
    kinds = {_type_of(name, value) for value in values}
    if len(kinds) > 1:
        raise ConfigurationError(
            "A list has values of different types", param=name, types=sorted(kinds)
        )
    checked = [_check_value(name, value) for value in values]
    return bigquery.ArrayQueryParameter(name, kinds.pop(), checked)


def _type_of(name: str | None, value: object) -> str:
    for kind, sql_type in _TYPES:
        if isinstance(value, kind):
            return sql_type
    raise ConfigurationError(
        "No BigQuery type for this value; use typed(value, …)",
        param=name,
        python_type=type(value).__name__,
    )


def _check_value(name: str | None, value: _Scalar) -> _Scalar:
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ConfigurationError("A datetime without time zone", param=name)
        return value.astimezone(UTC)
    if isinstance(value, Decimal) and not _fits_numeric(value):
        raise ConfigurationError(
            "NUMERIC would change this amount; use typed(value, 'BIGNUMERIC')",
            param=name,
            value=str(value),
        )
    return value


def _fits_numeric(value: Decimal) -> bool:
    if not value.is_finite():
        return False
    exponent = value.normalize().as_tuple().exponent
    return (
        isinstance(exponent, int)
        and exponent >= -_NUMERIC_DECIMALS
        and abs(value) < Decimal(10) ** _NUMERIC_DIGITS
    )
