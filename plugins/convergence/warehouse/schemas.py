"""Table schemas: JSON files checked into models, and models as the client's objects."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from google.cloud import bigquery
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from convergence.errors import SchemaError
from convergence.warehouse.names import IDENTIFIER

# BigQuery takes two names for some types and answers with the older one.
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
    """The standard SQL name of a column type: `INTEGER` is `INT64`."""
    return _CANONICAL.get(name.upper(), name.upper())


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FieldSpec(_Model):
    """One column. `description` says what it holds, with its unit or time zone."""

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
            raise ValueError("a STRUCT, and nothing else, has fields")
        _check_distinct(self.fields)
        return self

    def to_bigquery(self) -> bigquery.SchemaField:
        """The client's form of the column."""
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
    """How a table is partitioned by time."""

    field: _Name
    type: Literal["HOUR", "DAY", "MONTH", "YEAR"] = "DAY"
    require_filter: bool = True
    expiration_days: int | None = Field(default=None, ge=1)

    def to_bigquery(self) -> bigquery.TimePartitioning:
        """The client's form; the filter requirement is the table's own property."""
        expiration = timedelta(days=self.expiration_days) if self.expiration_days else None
        return bigquery.TimePartitioning(
            type_=self.type,
            field=self.field,
            expiration_ms=int(expiration.total_seconds() * 1000) if expiration else None,
        )


class TableSchema(_Model):
    """A table as its file describes it."""

    table: _Name
    description: str = Field(min_length=10, max_length=16_384)
    partition: Partition | None = None
    clustering: tuple[str, ...] = Field(default=(), max_length=4)
    labels: dict[_LabelKey, _LabelText] = Field(default_factory=dict)
    fields: tuple[FieldSpec, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        _check_distinct(self.fields)
        columns = {field.name: field for field in self.fields}
        if self.partition and not _partitions(columns.get(self.partition.field), self.partition):
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
            SchemaError: it is missing, no JSON, or wrong; `faults` lists every fault.
        """
        try:
            schema = cls.model_validate(_read(path))
        except ValidationError as error:
            faults = [
                f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}"
                for fault in error.errors(include_input=False, include_url=False)
            ]
            raise SchemaError("Schema file is wrong", file=str(path), errors=faults) from None
        if schema.table != path.stem:
            raise SchemaError(
                "The file must be named as its table", file=str(path), table=schema.table
            )
        return schema

    @property
    def required(self) -> tuple[str, ...]:
        """The top-level columns that refuse NULL."""
        return tuple(field.name for field in self.fields if field.mode == "REQUIRED")

    def to_bigquery(self) -> list[bigquery.SchemaField]:
        """The columns in the client's form."""
        return [field.to_bigquery() for field in self.fields]


def _partitions(column: FieldSpec | None, partition: Partition) -> bool:
    if column is None or column.mode == "REPEATED":
        return False
    accepted = {"TIMESTAMP", "DATETIME"} | ({"DATE"} if partition.type != "HOUR" else set())
    return column.type in accepted


def _check_distinct(fields: tuple[FieldSpec, ...]) -> None:
    # Column names differ by more than case (cloud.google.com/bigquery/docs/schemas).
    names = [field.name.lower() for field in fields]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"columns named twice: {', '.join(twice)}")


def _read(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SchemaError("Schema file is missing", file=str(path)) from None
    except ValueError as error:
        raise SchemaError("Schema file is no JSON", file=str(path), why=str(error)) from None
