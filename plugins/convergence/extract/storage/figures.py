"""Measure the rows of a day for the shrink guard: gross amounts, quantities and rows.

A table is guarded when its source declares a `FigureSpec`: which version of query, grouping and
columns its rows come from, and how a row is measured. `measure_columns` builds the measure of rows
with plain columns; a source with nested rows writes a function.

    FigureSpec(
        query_version=build_query_version(REVISION, schema, grouping=config.group_by),
        measure=measure_columns(amount="billed_cost", quantities={"tokens": "tokens"}),
    )
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Context, Decimal, Inexact
from hashlib import sha256
from json import dumps
from typing import Any, Final, NamedTuple

from convergence.warehouse.day_file import Figures, Measure
from convergence.warehouse.schemas import TableSchema

Row = Mapping[str, Any]

EXACT: Final = Context(prec=1000, traps=[Inexact])
"""Adds numbers without rounding, as far apart as two FLOAT64 values can be."""
_STEP: Final = Decimal("1e-9")
_WIDE: Final = Context(prec=1000)


class RowFigures(NamedTuple):
    """What one row adds to the figures of its day."""

    gross: Measure | None = None
    quantities: Sequence[Measure] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FigureSpec:
    """How a source's rows are measured.

    Attributes:
        query_version: of `build_query_version`.
        measure: returns what a row adds, or None for a row that is a credit, refund, tax, rounding
            or correction. The row was read from disk: amounts and days are text.
    """

    query_version: str
    measure: Callable[[Row], RowFigures | None] = lambda _: None


def build_query_version(revision: int, schema: TableSchema, *, grouping: object = ()) -> str:
    """Return a digest of all that decides how many rows equal data has.

    Args:
        revision: of the code that makes the rows.
        schema: the table's.
        grouping: the query and its groups, as JSON values.
    """
    columns = sorted(one.name for one in schema.fields)
    return sha256(dumps([revision, columns, grouping], default=str).encode()).hexdigest()[:16]


def measure_columns(
    *,
    amount: str | None = None,
    currency: str = "currency",
    quantities: Mapping[str, str] | None = None,
    quantity: str | None = None,
    unit: str | None = None,
    counts: Callable[[Row], bool] | None = None,
) -> Callable[[Row], RowFigures | None]:
    """Build the measure of rows with plain columns.

    Args:
        amount: column of the amount; None for rows without money.
        currency: column of the amount's currency, or the code itself in upper case.
        quantities: the unit of each column that is a quantity.
        quantity: column of a quantity whose unit is in another column.
        unit: column of that unit.
        counts: whether a row is measured. By default a row with an amount is measured if the
            amount is above 0, and a row without one always.
    """

    def measure(row: Row) -> RowFigures | None:
        value = None if amount is None else read_decimal(row.get(amount))
        if not (counts(row) if counts else value is None or value > 0):
            return None
        gross = None
        if value is not None:
            code = currency if currency.isupper() else str(row.get(currency) or "")
            gross = Measure(code, value)
        found = [(name, row.get(column)) for column, name in (quantities or {}).items()]
        if quantity is not None:
            found.append((str(row.get(unit) or "") if unit else "", row.get(quantity)))
        amounts = [(name, read_decimal(value)) for name, value in found]
        return RowFigures(gross, [Measure(name, one) for name, one in amounts if one is not None])

    return measure


def read_decimal(value: object) -> Decimal | None:
    """Return a number of a row as a decimal; None for a missing one.

    A float is taken at its shortest decimal form, the one that reads back as the same float.
    """
    return None if value is None else Decimal(str(value))


@dataclass
class FigureSums:
    """The figures of one day so far."""

    spec: FigureSpec
    rows: int = 0
    _gross: dict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    _quantities: dict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))

    def add_row(self, row: Row) -> None:
        """Add one row."""
        self.rows += 1
        found = self.spec.measure(row)
        if found is None:
            return
        if found.gross is not None:
            _add(self._gross, found.gross)
        for quantity in found.quantities:
            _add(self._quantities, quantity)

    def build_figures(self) -> Figures:
        """Return the figures; each sum is rounded here and nowhere before."""
        return Figures(
            query_version=self.spec.query_version,
            rows=self.rows,
            gross=_round_sums(self._gross),
            quantities=_round_sums(self._quantities),
        )


def _add(sums: dict[str, Decimal], one: Measure) -> None:
    sums[one.unit] = EXACT.add(sums[one.unit], one.amount)


def _round_sums(sums: Mapping[str, Decimal]) -> tuple[Measure, ...]:
    return tuple(
        Measure(unit, amount.quantize(_STEP, ROUND_HALF_UP, context=_WIDE))
        for unit, amount in sorted(sums.items())
    )
