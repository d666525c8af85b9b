"""Table schemas: read JSON files into models, and convert the models to the client's objects."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from google.cloud import bigquery
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from convergence.errors import SchemaError
from convergence.warehouse.names import IDENTIFIER

# BigQuery accepts two names for some types and returns the older one.
_CANONICAL: Final = {
    "INTEGER": "INT64",
    "FLOAT": "FLOAT64",
    "BOOLEAN": "BOOL",
    "RECORD": "STRUCT",
    "DECIMAL": "NUMERIC",
    "BIGDECIMAL": "BIGNUMERIC",
}
FieldType = Literal[
    "STRING",
    "BYTES",
    "INT64",
    "FLOAT64",
    "NUMERIC",
    "BIGNUMERIC",
    "BOOL",
    "DATE",
    "DATETIME",
    "TIME",
    "TIMESTAMP",
    "JSON",
    "STRUCT",
]
_CLUSTERABLE: Final = frozenset(
    {"STRING", "INT64", "NUMERIC", "BIGNUMERIC", "BOOL", "DATE", "DATETIME", "TIMESTAMP"}
)
_Name = Annotated[str, Field(pattern=IDENTIFIER)]
_LabelText = Annotated[str, Field(pattern=r"^[a-z0-9_-]{0,63}$")]
_LabelKey = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]


def canonical_type(name: str) -> str:
    """Return the standard SQL name of a column type: `INTEGER` is `INT64`."""
    return _CANONICAL.get(name.upper(), name.upper())


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FieldSpec(_Model):
    """One column. `description` explains its values, with unit or time zone."""

    name: _Name
    type: FieldType
    mode: Literal["NULLABLE", "REQUIRED", "REPEATED"] = "NULLABLE"
    description: str = Field(min_length=3, max_length=1024)
    fields: tuple[FieldSpec, ...] = ()
    precision: int | None = Field(default=None, ge=1, le=76)
    scale: int | None = Field(default=None, ge=0, le=38)

    @model_validator(mode="after")
    def _struct_has_fields(self) -> Self:
        if (self.type == "STRUCT") != bool(self.fields):
            raise ValueError("only a STRUCT has fields, and it needs them")
        _check_distinct(self.fields)
        return self

    def to_bigquery(self) -> bigquery.SchemaField:
        """Return the column as the client's object."""
        options: dict[str, Any] = {}
        if self.precision is not None:
            options = {"precision": self.precision, "scale": self.scale}
        return bigquery.SchemaField(
            self.name,
            self.type,
            mode=self.mode,
            description=self.description,
            fields=[inner.to_bigquery() for inner in self.fields],
            **options,
        )


class Partition(_Model):
    """The time partitioning of a table."""

    field: _Name
    type: Literal["HOUR", "DAY", "MONTH", "YEAR"] = "DAY"
    require_filter: bool = True
    expiration_days: int | None = Field(default=None, ge=1)

    def to_bigquery(self) -> bigquery.TimePartitioning:
        """Return the client's object; the filter requirement is a property of the table."""
        expiration = timedelta(days=self.expiration_days) if self.expiration_days else None
        return bigquery.TimePartitioning(
            type_=self.type,
            field=self.field,
            expiration_ms=int(expiration.total_seconds() * 1000) if expiration else None,
        )


class TableSchema(_Model):
    """A table, as described by its file."""

    table: _Name
    description: str = Field(min_length=10, max_length=16_384)
    partition: Partition | None = None
    clustering: tuple[str, ...] = Field(default=(), max_length=4)
    labels: dict[_LabelKey, _LabelText] = Field(default_factory=dict)
    fields: tuple[FieldSpec, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _check_columns(self) -> Self:
        _check_distinct(self.fields)
        columns = {field.name: field for field in self.fields}
        if self.partition and not _can_partition(columns.get(self.partition.field), self.partition):
            raise ValueError(f"{self.partition.field!r} can't partition the table")
        for name in self.clustering:
            column = columns.get(name)
            if column is None or column.mode == "REPEATED" or column.type not in _CLUSTERABLE:
                raise ValueError(f"{name!r} can't cluster the table")
        return self

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a schema file.

        Raises:
            SchemaError: it is missing, not JSON, or invalid; the details have every error.
        """
        try:
            schema = cls.model_validate(_read_json(path))
        except ValidationError as error:
            violations = [
                f"{'.'.join(str(part) for part in violation['loc'])}: {violation['msg']}"
                for violation in error.errors(include_input=False, include_url=False)
            ]
            raise SchemaError("Schema file is invalid", file=str(path), errors=violations) from None
        if schema.table != path.stem:
            raise SchemaError(
                "The file name must equal the table name", file=str(path), table=schema.table
            )
        return schema

    @property
    def required(self) -> tuple[str, ...]:
        """Return the top-level columns that reject NULL."""
        return tuple(field.name for field in self.fields if field.mode == "REQUIRED")

    def to_bigquery(self) -> list[bigquery.SchemaField]:
        """Return the columns as the client's objects."""
        return [field.to_bigquery() for field in self.fields]


def _can_partition(column: FieldSpec | None, partition: Partition) -> bool:
    if column is None or column.mode == "REPEATED":
        return False
    accepted = {"TIMESTAMP", "DATETIME"} | ({"DATE"} if partition.type != "HOUR" else set())
    return column.type in accepted


def _check_distinct(fields: tuple[FieldSpec, ...]) -> None:
    # Column names differ by more than case (cloud.google.com/bigquery/docs/schemas).
    names = [field.name.lower() for field in fields]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"columns named twice: {', '.join(twice)}")


def _read_json(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SchemaError("Schema file is missing", file=str(path)) from None
    except ValueError as error:
        raise SchemaError("Schema file is not JSON", file=str(path), why=str(error)) from None
