"""A suite of expectations: what must be true of the days that a run published.

The models of the JSON files under `data_quality/expectations/`. What an expectation names in a
table's schema (columns, their types) is checked where the files are linted.
"""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, ValidationError, model_validator

from convergence.config_files import Strict
from convergence.errors import ConfigurationError
from convergence.processors.lib.field_types import TableId
from convergence.processors.lib.schema_templates import load_template
from convergence.warehouse.names import IDENTIFIER
from convergence.warehouse.schemas import TableSchema

TableFile = Annotated[
    str, Field(pattern=r"^[a-z0-9][a-z0-9_]*(/[a-z0-9][a-z0-9_]*)*\.json(#[a-z][a-z0-9_]*)?$")
]
Severity = Literal["stop", "warn"]
Column = Annotated[str, Field(pattern=IDENTIFIER)]
Columns = Annotated[tuple[Column, ...], Field(min_length=1, max_length=50)]
Where: TypeAlias = Annotated[dict[Column, str], Field(max_length=5)]
"""Only rows whose columns have these values, each written as text."""
MAX_EXPECTATIONS = 100


class _Expectation(Strict):
    """Fields of every expectation.

    Attributes:
        id: its name, unique in the suite; results are stored with it.
        severity: `stop` fails the org's step, `warn` is recorded and reported.
    """

    id: Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*(_[a-z0-9]+)*$", max_length=100)]
    severity: Severity


class NotNull(_Expectation):
    """Every row has a value in each of the columns."""

    expect: Literal["not_null"]
    table: TableId
    columns: Columns
    where: Where = Field(default_factory=dict)


class Unique(_Expectation):
    """No two rows of a day agree in all of the columns."""

    expect: Literal["unique"]
    table: TableId
    columns: Columns
    where: Where = Field(default_factory=dict)


class Range(_Expectation):
    """Each of the columns is NULL or within the bounds, which belong to the range."""

    expect: Literal["range"]
    table: TableId
    columns: Columns
    minimum: Decimal | None = None
    maximum: Decimal | None = None
    where: Where = Field(default_factory=dict)

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if self.minimum is None and self.maximum is None:
            raise ValueError("a range needs a minimum or a maximum")
        if None not in (self.minimum, self.maximum) and self.minimum > self.maximum:  # type: ignore[operator]  # neither is None
            raise ValueError("the minimum is above the maximum")
        return self


class AcceptedValues(_Expectation):
    """Each of the columns is NULL or one of the values."""

    expect: Literal["accepted_values"]
    table: TableId
    columns: Columns
    values: Annotated[tuple[str, ...], Field(min_length=1, max_length=1000)]
    where: Where = Field(default_factory=dict)


class RowCount(_Expectation):
    """A day's rows are between these multiples of the day before's; none then says nothing."""

    expect: Literal["row_count_vs_yesterday"]
    table: TableId
    at_least: Decimal = Field(default=Decimal(0), ge=0)
    at_most: Decimal | None = Field(default=None, ge=0)
    where: Where = Field(default_factory=dict)

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.at_least == 0 and self.at_most is None:
            raise ValueError("set at_least, at_most or both")
        return self


class Side(Strict):
    """One side of an equation: the sum of all its columns, NULL as nothing, by day and group."""

    table: TableId
    columns: Columns
    by: tuple[Column, ...] = ()
    where: Where = Field(default_factory=dict)


class SumsTie(_Expectation):
    """Both sides' sums agree for every day and group, within the tolerance."""

    expect: Literal["sums_tie"]
    left: Side
    right: Side
    tolerance: Decimal = Field(default=Decimal(0), ge=0)

    @model_validator(mode="after")
    def _groups_alike(self) -> Self:
        if len(self.left.by) != len(self.right.by):
            raise ValueError("left and right must be grouped by equally many columns")
        return self

    @property
    def table(self) -> str:
        """The table that the result is kept under."""
        return self.left.table


Expectation = Annotated[
    NotNull | Unique | Range | AcceptedValues | RowCount | SumsTie,
    Field(discriminator="expect"),
]


class Suite(Strict):
    """A file of expectations.

    Attributes:
        tables: the schema file of every table that an expectation names; a template in a file of
            several is named after a #.
    """

    description: str = Field(min_length=10, max_length=1000)
    tables: dict[TableId, TableFile] = Field(min_length=1)
    expectations: Annotated[
        tuple[Expectation, ...], Field(min_length=1, max_length=MAX_EXPECTATIONS)
    ]


def load_suite(path: Path) -> Suite:
    """Read a suite for a step.

    Raises:
        ConfigurationError: it is missing or wrong; the linter reports its errors by line.
    """
    try:
        return Suite.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ConfigurationError(
            "The suite of expectations can't be read", file=path.name, why=error.strerror
        ) from None
    except ValidationError as error:
        violations = [
            f"{'.'.join(str(part) for part in violation['loc'])}: {violation['msg']}"
            for violation in error.errors(include_input=False, include_url=False)
        ]
    raise ConfigurationError(
        "The suite of expectations is wrong", file=path.name, errors=violations
    )


def load_schema(configs: Path, table: str, file: str) -> TableSchema:
    """Load the schema that a suite names for a table.

    Raises:
        SchemaError: the file or the template in it is missing or wrong, or another table's.
    """
    path, _, template = file.partition("#")
    if template:
        return load_template(configs / path, template, table=table)
    return TableSchema.load(configs / path)
