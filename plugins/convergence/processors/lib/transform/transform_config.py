"""Configuration of the step that fills a table by SQL."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from convergence.errors import ConfigurationError
from convergence.processors.lib.field_types import SchemaFile, SqlFile, TableId
from convergence.processors.lib.rest.rest_options import Options
from convergence.processors.step_config import ConfigViolation, StepConfig, config_error
from convergence.warehouse.params import Param, query_parameters, typed
from convergence.warehouse.schemas import TableSchema
from convergence.warehouse.sql.source import read_source
from convergence.warehouse.sql.table_rules import DATASETS, PROJECTS

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,99}$")]
RESERVED_NAMES = ("project", "central", "dataset", "destination")
"""Names that every SQL file may use in double braces."""
RESERVED_PARAMS = ("day", "org_slug", "now")
"""Params that every SQL file may use after an @."""
GIB = 1024**3

_AS_TEXT = frozenset({"NUMERIC", "BIGNUMERIC", "DATE", "TIMESTAMP"})
_AT = re.compile(r"@([a-z][a-z0-9_]*)")
_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/|#[^\n]*", re.DOTALL)


class TypedValue(Options):
    """A parameter whose type its YAML does not say."""

    type: Literal["NUMERIC", "BIGNUMERIC", "DATE", "TIMESTAMP", "STRING", "INT64", "BOOL"]
    """BigQuery's type."""

    value: str | int | bool | None
    """As quoted text for NUMERIC (9 decimals at most), BIGNUMERIC, DATE and TIMESTAMP; null for a
    NULL of the type."""

    @model_validator(mode="after")
    def _can_be_read(self) -> Self:
        try:
            query_parameters({"value": self.param()})
        except (ValueError, TypeError, InvalidOperation):
            raise config_error(f"{self.value!r} is not a {self.type}") from None
        except ConfigurationError:
            raise config_error(f"a {self.type} would change {self.value}; use BIGNUMERIC") from None
        return self

    def param(self) -> Param:
        """Return the value of the query parameter."""
        value = self.value
        if value is None:
            return typed(None, self.type)
        if self.type in _AS_TEXT and not isinstance(value, str):
            raise TypeError
        if self.type == "BIGNUMERIC":
            return typed(_finite(Decimal(str(value))), self.type)
        if self.type == "NUMERIC":
            return _finite(Decimal(str(value)))
        if self.type == "DATE":
            return date.fromisoformat(str(value))
        if self.type == "TIMESTAMP":
            return _zoned(datetime.fromisoformat(str(value)))
        if not isinstance(value, {"STRING": str, "INT64": int, "BOOL": bool}[self.type]):
            raise TypeError
        return value


class TransformDestination(Options):
    """The table that is filled."""

    table: TableId
    """Table of the org's dataset; made when it is not there."""

    schema_file: SchemaFile
    """That table's schema, without REQUIRED columns: a query's columns may all be null."""


class TransformConfig(StepConfig):
    """Fills a table by SQL."""

    sql_file: SqlFile
    """A SELECT of the table's rows. Names in double braces: {{ project }}, {{ dataset }},
    {{ destination }} and those of `reads`; values after an @: @day, @org_slug, @now and those of
    `params`."""

    destination: TransformDestination
    """Table of the rows."""

    partition: Literal["day", "none"] = "day"
    """day: one query for each day asked for, which replaces that day. none: the table has no
    partitions and is replaced as a whole."""

    reads: dict[Name, TableId] = Field(default_factory=dict)
    """Tables of the org's dataset that the SQL reads, by the name it has for each. A day is made
    again when one of them, or the SQL, has changed."""

    params: dict[Name, str | int | bool | TypedValue] = Field(default_factory=dict)
    """Values of the query, by name: text, a whole number, true or false, or {type, value}."""

    max_bytes_billed: int = Field(default=10 * GIB, ge=1)
    """Maximum bytes that one query may read; a query that would read more is not run."""

    totals_file: SqlFile | None = None
    """Reads one published day's sums: currency, basis, amount; the ledger keeps them."""

    source_view: SqlFile | None = None
    """The table's part of cost_daily."""

    @model_validator(mode="after")
    def _names_are_free(self) -> Self:
        # A name that stands for a dataset would let a table's name pass as one.
        taken_names = {*RESERVED_NAMES, *PROJECTS, *DATASETS}
        for names, reserved in ((self.reads, taken_names), (self.params, RESERVED_PARAMS)):
            if taken := sorted(set(names) & set(reserved)):
                raise config_error(f"{taken[0]} is a reserved name of every query")
        if self.destination.table in self.reads.values():
            raise config_error("a table can't be an input of itself")
        if self.partition == "none" and self.totals_file is not None:
            raise config_error("totals_file needs a table with days")
        return self

    def daily_tables(self) -> tuple[str, ...]:
        """Return the table if it is partitioned by day."""
        return (self.destination.table,) if self.partition == "day" else ()

    def build_params(self) -> dict[str, Param]:
        """Return the configured parameters of the query."""
        return {
            name: value.param() if isinstance(value, TypedValue) else value
            for name, value in self.params.items()
        }

    def find_violations(self, folder: Path, *, provider: str | None) -> Iterator[ConfigViolation]:
        """Yield violations: missing files, a schema that the query can't fill, undefined values."""
        del provider
        for key in ("sql_file", "totals_file", "source_view"):
            path = getattr(self, key)
            if path is not None and not (folder / path).is_file():
                yield ConfigViolation((key,), f"there is no file {path}")
        yield from self._find_schema_violations(folder)
        if (folder / self.sql_file).is_file():
            try:
                named = named_params(read_source(folder / self.sql_file, folder).text)
            except ConfigurationError:
                return  # the check of the SQL file itself reports this
            for name in sorted(named - {*self.params, *RESERVED_PARAMS}):
                yield ConfigViolation(("sql_file",), f"@{name} is not among params")
            for name in sorted(set(self.params) - named):
                yield ConfigViolation(("params", name), f"{self.sql_file} has no @{name}")
            if self.partition == "none" and "day" in named:
                yield ConfigViolation(("sql_file",), "@day needs a table with days")

    def _find_schema_violations(self, folder: Path) -> Iterator[ConfigViolation]:
        place = ("destination", "schema_file")
        try:
            schema = TableSchema.load(folder / self.destination.schema_file)
        except ConfigurationError as error:
            yield ConfigViolation(place, str(error))
            return
        if schema.table != self.destination.table:
            yield ConfigViolation(place, f"it is the schema of {schema.table}")
        if schema.required:
            yield ConfigViolation(
                place, f"a query can't fill REQUIRED columns: {', '.join(schema.required)}"
            )
        daily = schema.partition is not None and schema.partition.type == "DAY"
        if self.partition == "day" and not daily:
            yield ConfigViolation(
                place, f"{schema.table} is not partitioned by day; set partition: none"
            )
        if self.partition == "none" and schema.partition is not None:
            yield ConfigViolation(place, f"{schema.table} has partitions; set partition: day")


def named_params(sql: str) -> set[str]:
    """Return the names of the values that a statement takes after an @, except in comments."""
    return set(_AT.findall(_COMMENT.sub("", sql)))


def _finite(value: Decimal) -> Decimal:
    if not value.is_finite():
        raise ValueError
    return value


def _zoned(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError
    return value
