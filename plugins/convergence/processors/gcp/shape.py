"""Rows of a billing export → rows of our copy: by name, nothing lost, nothing guessed.

A column or a part of a column that our table has not is kept in `extra`; one that has become
another kind of thing is an error that names it, before a row is read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any, Final

from google.cloud import bigquery

from convergence.errors import ProviderProtocolError
from convergence.extract.storage.figures import RowFigures, read_decimal
from convergence.processors.lib.daily.fields import NUMERIC_STEP
from convergence.warehouse.day_file import Measure, Money
from convergence.warehouse.schemas import FieldSpec, TableSchema, canonical_type

ADDED_COLUMNS: Final = frozenset({"usage_date", "source_table", "source_created_at", "extra"})
_NUMBERS: Final = frozenset({"INT64", "FLOAT64", "NUMERIC", "BIGNUMERIC"})
_WIDE: Final = Context(prec=100)

Value = Any
Row = Mapping[str, Value]
Take = Callable[[Value], Value]


@dataclass
class ExportShape:
    """Makes rows of our copy of one export's rows.

    Attributes:
        unknown: dotted names that our table has not, and in how many rows each had a value.
    """

    columns: Mapping[str, Take]
    source_table: str
    source_created_at: datetime | None
    unknown_parts: Mapping[str, Sequence[str]]
    unknown: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(
        cls,
        present: Sequence[bigquery.SchemaField],
        schema: TableSchema,
        *,
        source_table: str,
        created_at: datetime | None = None,
    ) -> ExportShape:
        """Build a reader of an export's columns for a table of this schema.

        Raises:
            ProviderProtocolError: a column has changed its type; `errors` lists each one.
        """
        known = {spec.name: spec for spec in schema.fields if spec.name not in ADDED_COLUMNS}
        violations = _changed(present, known, within="")
        if violations:
            raise ProviderProtocolError(
                "The billing export's columns have changed their types", errors=violations
            )
        takes = {one.name: _take(one, known[one.name]) for one in present if one.name in known}
        return cls(takes, source_table, created_at, _unknown(present, known))

    def row(self, row: Row) -> dict[str, Value]:
        """Build a row of our copy."""
        made = {name: take(row[name]) for name, take in self.columns.items()}
        extra = self._extra(row)
        return {
            "usage_date": row["usage_date"],
            "source_table": self.source_table,
            "source_created_at": self.source_created_at,
            **made,
            "extra": extra or None,
        }

    def _extra(self, row: Row) -> dict[str, Value]:
        found: dict[str, Value] = {}
        for column, parts in self.unknown_parts.items():
            value = row[column] if not parts else _parts(row[column], parts)
            if value is None or value == []:
                continue
            found[column] = _plain(value)
            self.unknown.update(f"{column}.{part}" for part in parts)
            if not parts:
                self.unknown[column] += 1
        return found


def net(row: Row) -> Money:
    """Return a row's net cost, exact: cost and credits; the sum of the day is rounded."""
    amounts = [row.get("cost"), *(credit.get("amount") for credit in row.get("credits") or ())]
    total = sum((Decimal(str(amount)) for amount in amounts if amount is not None), Decimal(0))
    return Money(str(row["currency"]), "billed", total)


def measure_row(row: Row) -> RowFigures | None:
    """Measure a row of our copy: its cost before credits, and its usage.

    Tax, rounding errors, and rows with `adjustment_info` that correct others are left out.
    """
    adjustment = row.get("adjustment_info") or {}
    if row.get("cost_type") not in {None, "regular"} or any(adjustment.values()):
        return None
    cost, usage = read_decimal(row.get("cost")), row.get("usage") or {}
    gross = None if cost is None else Measure(str(row["currency"]), cost)
    amount = read_decimal(usage.get("amount"))
    return RowFigures(
        gross, () if amount is None else (Measure(str(usage.get("unit") or ""), amount),)
    )


def numeric(amount: Value) -> Decimal:
    """Convert a number like `CAST(… AS NUMERIC)`: 9 decimals, half away from zero."""
    return Decimal(str(amount)).quantize(NUMERIC_STEP, ROUND_HALF_UP, context=_WIDE)


def _changed(
    present: Sequence[bigquery.SchemaField], known: Mapping[str, FieldSpec], *, within: str
) -> list[str]:
    violations: list[str] = []
    for one in present:
        spec = known.get(one.name)
        if spec is None:
            continue
        path = f"{within}{one.name}"
        kind = canonical_type(one.field_type)
        if (one.mode == "REPEATED") != (spec.mode == "REPEATED"):
            violations.append(f"{path}: is {one.mode}, was {spec.mode}")
        elif kind != spec.type and not {kind, spec.type} <= _NUMBERS:
            violations.append(f"{path}: is {kind}, was {spec.type}")
        else:
            inner = {part.name: part for part in spec.fields}
            violations += _changed(one.fields, inner, within=f"{path}.")
    return violations


def _unknown(
    present: Sequence[bigquery.SchemaField], known: Mapping[str, FieldSpec]
) -> dict[str, list[str]]:
    """Return, by column, the parts that our table lacks; none if it lacks the column."""
    found: dict[str, list[str]] = {}
    for one in present:
        if one.name not in known:
            found[one.name] = []
            continue
        parts = {part.name for part in known[one.name].fields}
        if new := [part.name for part in one.fields if part.name not in parts]:
            found[one.name] = new
    return found


def _take(present: bigquery.SchemaField, spec: FieldSpec) -> Take:
    """Return a function that converts the export's value; most values stay unchanged."""
    if present.mode == "REPEATED":
        each = _take_one(present, spec)
        if {"key", "value"} <= {part.name for part in present.fields}:
            # Labels in one order, so that equal ones are equal texts.
            return lambda values: sorted((each(value) for value in values or ()), key=_pair_order)
        return lambda values: [each(value) for value in values or ()]
    return _take_one(present, spec)


def _pair_order(pair: Row) -> tuple[str, str]:
    return str(pair["key"]), str(pair["value"])


def _take_one(present: bigquery.SchemaField, spec: FieldSpec) -> Take:
    if spec.type != "STRUCT":
        return _take_value(spec.type)
    inner = {part.name: part for part in spec.fields}
    takes = {one.name: _take(one, inner[one.name]) for one in present.fields if one.name in inner}

    def take(value: Value) -> Value:
        return value and {name: part(value[name]) for name, part in takes.items()}

    return take


def _take_value(kind: str) -> Take:
    if kind == "NUMERIC":
        return lambda value: None if value is None else numeric(value)
    return lambda value: value


def _parts(value: Value, names: Sequence[str]) -> Value:
    """Return the named parts of a struct, or of each struct of an array; None when all are null."""
    if isinstance(value, list):
        found = [_parts(one, names) for one in value]
        return found if any(found) else None
    if value is None:
        return None
    return {name: value[name] for name in names if value[name] is not None} or None


def _plain(value: Value) -> Value:
    """Convert a value for JSON: times to text, bytes to hexadecimal digits."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Mapping):
        return {name: _plain(part) for name, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, list) else value
