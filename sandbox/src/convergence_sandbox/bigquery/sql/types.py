"""GoogleSQL's types, their DuckDB storage, and their place in a table schema.

Storage: NUMERIC is DECIMAL(38,9); BIGNUMERIC is DuckDB's BIGNUM holding the value times 10^38,
since DECIMAL ends at 38 digits; TIMESTAMP is TIMESTAMPTZ in microseconds; JSON is DuckDB's JSON
holding normalized text. Unnamed struct fields are stored as `_field_1`, `_field_2`, …, which is
also how BigQuery shows them in results.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from convergence_sandbox.bigquery.errors import invalid_query, not_implemented
from convergence_sandbox.bigquery.resources.fields import Field, Schema

DUCKDB_TYPES = {
    "INT64": "BIGINT",
    "FLOAT64": "DOUBLE",
    "NUMERIC": "DECIMAL(38,9)",
    "BIGNUMERIC": "BIGNUM",
    "BOOL": "BOOLEAN",
    "STRING": "VARCHAR",
    "BYTES": "BLOB",
    "DATE": "DATE",
    "TIME": "TIME",
    "DATETIME": "TIMESTAMP",
    "TIMESTAMP": "TIMESTAMPTZ",
    "JSON": "JSON",
    "INTERVAL": "INTERVAL",
}
REST_TYPES = {
    "INT64": "INTEGER",
    "FLOAT64": "FLOAT",
    "BOOL": "BOOLEAN",
    "STRUCT": "RECORD",
}
SQL_TYPES = {rest: sql for sql, rest in REST_TYPES.items()}
NUMBERS = ("INT64", "NUMERIC", "BIGNUMERIC", "FLOAT64")


@dataclass(frozen=True, slots=True)
class SqlType:
    """A GoogleSQL type. `element` is set for ARRAY, `fields` for STRUCT (names may be None)."""

    kind: str
    element: SqlType | None = None
    fields: tuple[tuple[str | None, SqlType], ...] = ()

    def __str__(self) -> str:
        if self.element is not None:
            return f"ARRAY<{self.element}>"
        if self.kind == "STRUCT":
            inner = ", ".join(f"{name} {kind}" if name else str(kind) for name, kind in self.fields)
            return f"STRUCT<{inner}>"
        return self.kind

    @property
    def is_number(self) -> bool:
        """INT64, NUMERIC, BIGNUMERIC or FLOAT64."""
        return self.kind in NUMBERS

    @property
    def duck(self) -> str:
        """Return the DuckDB type that stores it."""
        return _duck(self)

    def holds(self, *kinds: str) -> bool:
        """Return whether the type is, or contains at any depth, one of `kinds`."""
        if self.kind in kinds:
            return True
        inner = [kind for _, kind in self.fields]
        if self.element is not None:
            inner.append(self.element)
        return any(one.holds(*kinds) for one in inner)


INT64 = SqlType("INT64")
FLOAT64 = SqlType("FLOAT64")
NUMERIC = SqlType("NUMERIC")
BIGNUMERIC = SqlType("BIGNUMERIC")
BOOL = SqlType("BOOL")
STRING = SqlType("STRING")
BYTES = SqlType("BYTES")
DATE = SqlType("DATE")
TIME = SqlType("TIME")
DATETIME = SqlType("DATETIME")
TIMESTAMP = SqlType("TIMESTAMP")
JSON = SqlType("JSON")
INTERVAL = SqlType("INTERVAL")
SIMPLE = {
    one.kind: one
    for one in (
        INT64,
        FLOAT64,
        NUMERIC,
        BIGNUMERIC,
        BOOL,
        STRING,
        BYTES,
        DATE,
        TIME,
        DATETIME,
        TIMESTAMP,
        JSON,
        INTERVAL,
    )
}
ALIASES = {
    "INT": "INT64",
    "SMALLINT": "INT64",
    "INTEGER": "INT64",
    "BIGINT": "INT64",
    "TINYINT": "INT64",
    "BYTEINT": "INT64",
    "DECIMAL": "NUMERIC",
    "BIGDECIMAL": "BIGNUMERIC",
    "BOOLEAN": "BOOL",
    "FLOAT": "FLOAT64",
}


def array(element: SqlType) -> SqlType:
    """ARRAY<element>; arrays of arrays do not exist in BigQuery."""
    if element.kind == "ARRAY":
        raise invalid_query(
            "Cannot construct array with element type ARRAY because nested arrays are not supported"
        )
    return SqlType("ARRAY", element=element)


def struct(fields: Sequence[tuple[str | None, SqlType]]) -> SqlType:
    """STRUCT of the named (or unnamed) fields."""
    return SqlType("STRUCT", fields=tuple(fields))


def quote(name: str) -> str:
    """Return a DuckDB identifier."""
    return '"' + name.replace('"', '""') + '"'


def text(value: str) -> str:
    """Return a DuckDB string literal; NUL cannot be stored by DuckDB and is rejected."""
    if "\0" in value:
        raise not_implemented("strings that contain the character NUL")
    return "'" + value.replace("'", "''") + "'"


def stored_names(kind: SqlType) -> list[str]:
    """Return the struct's field names as stored, unique and never empty."""
    seen: set[str] = set()
    names = []
    for index, (name, _) in enumerate(kind.fields, start=1):
        stored = name if name and name.lower() not in seen else f"_field_{index}"
        seen.add(stored.lower())
        names.append(stored)
    return names


@lru_cache(maxsize=4096)
def _duck(kind: SqlType) -> str:
    if kind.element is not None:
        return f"{_duck(kind.element)}[]"
    if kind.kind == "STRUCT":
        if not kind.fields:
            raise not_implemented("STRUCT without fields")
        inner = ", ".join(
            f"{quote(name)} {_duck(one)}"
            for name, (_, one) in zip(stored_names(kind), kind.fields, strict=True)
        )
        return f"STRUCT({inner})"
    return DUCKDB_TYPES[kind.kind]


def named(name: str) -> SqlType | None:
    """Return the simple type of that SQL or REST name, or None."""
    upper = name.upper()
    return SIMPLE.get(ALIASES.get(upper, upper))


@lru_cache(maxsize=4096)
def of_field(field: Field) -> SqlType:
    """Return the type of a column, REPEATED giving an ARRAY."""
    if field.type == "RECORD":
        kind = struct([(child.name, of_field(child)) for child in field.fields])
    else:
        kind = SIMPLE[SQL_TYPES.get(field.type, field.type)]
    return SqlType("ARRAY", element=kind) if field.mode == "REPEATED" else kind


def to_field(name: str, kind: SqlType, *, mode: str = "NULLABLE") -> Field:
    """Return the column that a result of this type becomes."""
    if kind.element is not None:
        return to_field(name, kind.element, mode="REPEATED")
    children: tuple[Field, ...] = ()
    if kind.kind == "STRUCT":
        children = tuple(
            to_field(child, one)
            for child, (_, one) in zip(stored_names(kind), kind.fields, strict=True)
        )
    return Field(name, REST_TYPES.get(kind.kind, kind.kind), mode=mode, fields=children)


def to_schema(columns: Sequence[tuple[str, SqlType]]) -> Schema:
    """Return the schema of a result."""
    return Schema(tuple(to_field(name, kind) for name, kind in columns))
