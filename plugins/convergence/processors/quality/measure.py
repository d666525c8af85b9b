"""Measure what expectations are about: one query for each, over all days at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from convergence.errors import ConfigurationError
from convergence.processors.quality.judge import Measured, Verdict, days_read, judge
from convergence.processors.quality.suite import (
    AcceptedValues,
    Expectation,
    Range,
    RowCount,
    Side,
    Suite,
    SumsTie,
)
from convergence.warehouse.client import Warehouse
from convergence.warehouse.params import Param, typed
from convergence.warehouse.query import Row, run_file
from convergence.warehouse.schemas import TableSchema

Identifiers = dict[str, str | Sequence[str]]


@dataclass(frozen=True, kw_only=True)
class Inspector:
    """Holds one org's tables against a suite.

    Attributes:
        dataset: the org's, such as `acme_corp_dev`.
        schemas: of every table that the suite names.
    """

    warehouse: Warehouse
    dataset: str
    suite: Suite
    schemas: Mapping[str, TableSchema]

    def inspect(
        self, days: Sequence[date], *, stopped: Callable[[], None] = lambda: None
    ) -> list[Verdict]:
        """Return a verdict per expectation and day, with one job per expectation.

        Args:
            days: published UTC days.
            stopped: raises when nobody waits for the answer any longer.

        Raises:
            WarehouseError: a table or column is not there.
        """
        verdicts: list[Verdict] = []
        for expectation in self.suite.expectations:
            stopped()
            verdicts += self.measure(expectation, days)
        return verdicts

    def measure(self, expectation: Expectation, days: Sequence[date]) -> list[Verdict]:
        """Return the verdicts of one expectation, with one job; otherwise as `inspect`."""
        measured = [_measured(row) for row in self._measure(expectation, days)]
        return judge(expectation, measured, days=sorted(days))

    def _measure(self, expectation: Expectation, days: Sequence[date]) -> list[Row]:
        identifiers, params = self._bind(expectation)
        return run_file(
            self.warehouse,
            self.warehouse.sql(f"quality/{expectation.expect}.sql"),
            identifiers={"dataset": self.dataset, **identifiers},
            params={"days": days_read(expectation, days), **params},
        )

    def _bind(self, expectation: Expectation) -> tuple[Identifiers, dict[str, Param]]:
        """Return the identifiers and the parameters of the query's file."""
        if isinstance(expectation, SumsTie):
            left, left_values = self._side(expectation.left, "left_")
            right, right_values = self._side(expectation.right, "right_")
            return left | right, left_values | right_values
        columns = () if isinstance(expectation, RowCount) else expectation.columns
        side = Side.model_construct(
            table=expectation.table, columns=columns, by=(), where=expectation.where
        )
        identifiers, params = self._side(side, "")
        return identifiers, params | _values(expectation)

    def _side(self, side: Side, prefix: str) -> tuple[Identifiers, dict[str, Param]]:
        filters = sorted(side.where)
        identifiers: Identifiers = {
            f"{prefix}table": side.table,
            f"{prefix}day_column": day_column(self.schemas[side.table]),
            f"{prefix}columns": side.columns,
            f"{prefix}by": side.by,
            f"{prefix}filters": filters,
        }
        values = [side.where[name] for name in filters]
        return identifiers, {f"{prefix}filters": values} if values else {}


def day_column(schema: TableSchema) -> str:
    """Return the column with the UTC day of a row: the one that partitions the table.

    Raises:
        ConfigurationError: the table has none of type DATE.
    """
    if schema.partition is not None:
        for column in schema.fields:
            if column.name == schema.partition.field and column.type == "DATE":
                return column.name
    raise ConfigurationError("The table is not partitioned by a DATE", table=schema.table)


def _values(expectation: Expectation) -> dict[str, Param]:
    if isinstance(expectation, Range):
        bounds = {"minimum": expectation.minimum, "maximum": expectation.maximum}
        return {name: typed(value, "NUMERIC") for name, value in bounds.items()}
    if isinstance(expectation, AcceptedValues):
        return {"accepted": list(expectation.values)}
    return {}


def _measured(row: Mapping[str, Any]) -> Measured:
    return Measured(
        day=row["slice_day"],
        subject=row["subject"].removesuffix(" / "),
        rows=row.get("row_count") or 0,
        failing=row.get("failing_rows") or 0,
        left=Decimal(row.get("left_total") or 0),
        right=Decimal(row.get("right_total") or 0),
    )
