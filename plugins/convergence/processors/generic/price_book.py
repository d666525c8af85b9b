"""A price book: a CSV file of dated prices, checked as a whole before any of it is used.

Any LLM provider's book has the same columns for who, when and whence; its rates are the columns
whose name ends in `_per_million`, and `unit_price` for what is not counted in tokens. The pricing
table's schema says which those are.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

from convergence.errors import PriceBookError

RATE_SUFFIX = "_per_million"
UNIT_PRICE = "unit_price"
SKU_COLUMNS = ("model_id", "service_tier", "context_window")
"""What a price is for; a provider without context windows has no such column."""
FILLED_BY_SEED = frozenset({"is_override", "updated_at"})
REQUIRED = (
    "model_id",
    "service_tier",
    "currency",
    "effective_from",
    "effective_basis",
    "source_url",
    "source_date",
)
"""Columns that a default may not leave empty."""
TIERS = frozenset({"standard", "batch", "flex", "priority", "fast"})
WINDOWS = frozenset({"any", "0-200k", "200k-1M"})
"""Context windows: `any` where the rates do not depend on it."""
BASES = frozenset({"announced", "observed"})
MAX_DECIMALS = 9
"""Scale of BigQuery's NUMERIC."""

Value = str | int | Decimal | date | None


@dataclass(frozen=True, slots=True)
class Price:
    """One checked line of a price book.

    Attributes:
        line: its line in the file.
        values: column → value; an empty cell is None.
    """

    line: int
    values: Mapping[str, Value]

    @property
    def sku(self) -> tuple[str, ...]:
        """Model, tier and context window: prices of one SKU must not overlap."""
        return tuple(str(self.values[name]) for name in SKU_COLUMNS if name in self.values)

    @property
    def effective_from(self) -> date:
        """First day in force."""
        return _day(self.values["effective_from"])

    @property
    def effective_to(self) -> date:
        """First day no longer in force; the end of time when the file gives none."""
        end = self.values["effective_to"]
        return date.max if end is None else _day(end)


@dataclass(frozen=True, slots=True)
class PriceBook:
    """All prices of a file, in its order."""

    path: Path
    prices: tuple[Price, ...]

    @classmethod
    def read(cls, path: Path, *, columns: Mapping[str, str]) -> PriceBook:
        """Read and check a file.

        Args:
            path: a CSV file with a header.
            columns: column → BigQuery type of the pricing table.

        Raises:
            PriceBookError: `faults` lists every fault as `file:line: field: what is wrong`.
        """
        in_file = {name: kind for name, kind in columns.items() if name not in FILLED_BY_SEED}
        reader = _Reader(path, columns=in_file)
        prices = reader.read()
        faults = sorted(reader.faults or overlaps(prices))
        if faults:
            raise PriceBookError(
                "The price book is wrong",
                faults=[f"{path.name}:{line}: {field}: {text}" for line, field, text in faults],
            )
        return cls(path, tuple(prices))

    def rows(self) -> list[dict[str, str]]:
        """Every price as column → text, empty cells left out: what SQL casts exactly."""
        return [
            {
                name: str(_canonical(value))
                for name, value in price.values.items()
                if value is not None
            }
            for price in self.prices
        ]


Fault = tuple[int, str, str]


class _Reader:
    def __init__(self, path: Path, *, columns: Mapping[str, str]) -> None:
        self._path = path
        self._columns = columns
        self.faults: list[Fault] = []

    def read(self) -> list[Price]:
        with self._path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            try:
                if not self._header_fits(reader.fieldnames or ()):
                    return []
                return [self._price(reader.line_num, cells) for cells in reader]
            except csv.Error as error:
                self.faults.append((reader.line_num, "(row)", str(error)))
                return []

    def _header_fits(self, header: Sequence[str]) -> bool:
        for name in sorted(set(self._columns) - set(header)):
            self.faults.append((1, name, "the column is missing"))
        for name in sorted(set(header) - set(self._columns)):
            self.faults.append((1, name, "no such column in the pricing table"))
        for name in sorted({name for name in header if list(header).count(name) > 1}):
            self.faults.append((1, name, "the column is there twice"))
        return not self.faults

    def _price(self, line: int, cells: Mapping[str | None, Any]) -> Price:
        before = len(self.faults)
        if None in cells or None in cells.values():
            self.faults.append((line, "(row)", f"{len(self._columns)} cells were expected"))
            return Price(line, {})
        price = Price(line, {name: self._value(line, name, cells[name]) for name in self._columns})
        if len(self.faults) == before:
            self.faults += _wrong(price)
        return price

    def _value(self, line: int, name: str, cell: str) -> Value:
        text = cell.strip()
        if not text:
            return None
        kind = self._columns[name]
        try:
            return _PARSERS[kind](text)
        except ArithmeticError:
            self.faults.append((line, name, f"{text!r} is no {kind}"))
        except ValueError as error:
            self.faults.append((line, name, f"{text!r} is no {kind}: {error}"))
        return None


def overlaps(prices: Iterable[Price]) -> list[Fault]:
    """Prices of one SKU that are in force on the same day."""
    by_sku: dict[tuple[str, ...], list[Price]] = {}
    for price in prices:
        by_sku.setdefault(price.sku, []).append(price)
    return [
        (later.line, "effective_from", _overlap(earlier, later))
        for _, rows in sorted(by_sku.items())
        for earlier, later in pairwise(sorted(rows, key=lambda row: (row.effective_from, row.line)))
        if later.effective_from < earlier.effective_to
    ]


def _overlap(earlier: Price, later: Price) -> str:
    end = earlier.values["effective_to"] or "further notice"
    other = f"line {earlier.line}: {'/'.join(earlier.sku)} from {earlier.effective_from} to {end}"
    return f"{later.effective_from} overlaps {other}"


def digest(rows: Iterable[Mapping[str, object]]) -> str:
    """A hash of price rows as they stand in a table, whatever their order."""
    lines = sorted(
        json.dumps({name: _canonical(value) for name, value in row.items()}, sort_keys=True)
        for row in rows
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _wrong(price: Price) -> list[Fault]:
    values, line = price.values, price.line
    faults = [
        (line, name, "must not be empty")
        for name in (*REQUIRED, "context_window")
        if name in values and values[name] is None
    ]
    faults += [
        (line, name, f"{value} is negative; a price is zero or more")
        for name, value in values.items()
        if isinstance(value, Decimal) and value < 0
    ]
    for name, accepted in _CHOICES:
        if name in values and values[name] not in {None, *accepted}:
            faults.append((line, name, f"{values[name]!r} is none of {sorted(accepted)}"))
    rates = [name for name in values if name.endswith(RATE_SUFFIX) or name == UNIT_PRICE]
    if not any(values[name] is not None for name in rates):
        faults.append((line, "(row)", "no rate at all"))
    if UNIT_PRICE in values and (values[UNIT_PRICE] is None) != (values.get("unit") is None):
        faults.append((line, UNIT_PRICE, "a price per unit and its unit come together"))
    if not str(values["source_url"] or "https://").startswith("https://"):
        faults.append((line, "source_url", "must be a public https address"))
    if not faults and price.effective_to <= price.effective_from:
        text = f"{price.effective_to} ends the price before it begins on {price.effective_from}"
        faults.append((line, "effective_to", text))
    return faults


def _decimal(text: str) -> Decimal:
    value = Decimal(text)
    if not value.is_finite():
        raise ValueError("it is not finite")
    exponent = value.normalize().as_tuple().exponent
    if isinstance(exponent, int) and -exponent > MAX_DECIMALS:
        raise ValueError(f"more than {MAX_DECIMALS} decimals")
    return value


def _day(value: Value) -> date:
    if not isinstance(value, date):
        raise TypeError(f"a day was expected, not {value!r}")
    return value


def _canonical(value: object) -> object:
    """Equal amounts hash alike, whatever zeros they end in."""
    if isinstance(value, Decimal):
        return format(value.normalize(), "f")
    return value if value is None or isinstance(value, bool | int) else str(value)


_CHOICES = (("service_tier", TIERS), ("effective_basis", BASES), ("context_window", WINDOWS))
_PARSERS: Mapping[str, Callable[[str], Value]] = {
    "STRING": str,
    "INT64": int,
    "NUMERIC": _decimal,
    "DATE": date.fromisoformat,
}
