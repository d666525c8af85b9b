"""A price book: a CSV file of dated prices, checked as a whole before any of it is used.

Any LLM provider's book has the same columns for who, when and whence. A book of models has rates
per million tokens, and a price per unit for what is not counted in tokens; a book of plans has the
price of a seat. The table's schema says which; `price_rules` says what they must keep to.
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
from convergence.processors.lib.pricing.price_rules import (
    SKU_COLUMNS,
    Value,
    day_of,
    decimal_of,
    faults_of,
)

FILLED_BY_SEED = frozenset({"is_override", "updated_at"})
VERSION = "price_version"


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
        """What it prices, such as model and tier: prices of one SKU must not overlap."""
        return tuple(str(self.values[name]) for name in SKU_COLUMNS if name in self.values)

    @property
    def effective_from(self) -> date:
        """First day in force."""
        return day_of(self.values["effective_from"])

    @property
    def effective_to(self) -> date:
        """First day no longer in force; the end of time when the file gives none."""
        end = self.values["effective_to"]
        return date.max if end is None else day_of(end)


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
            columns: column → BigQuery type of the table that the book is for.

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
                errors=[f"{path.name}:{line}: {field}: {text}" for line, field, text in faults],
            )
        return cls(path, tuple(prices))

    @property
    def edition(self) -> str:
        """The newest version that a line names: the book's own."""
        return max((str(price.values.get(VERSION) or "") for price in self.prices), default="")

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
            self.faults.append((1, name, "no such column in the table"))
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
            self.faults += [(line, field, text) for field, text in faults_of(price.values)]
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


def _canonical(value: object) -> object:
    """Equal amounts hash alike, whatever zeros they end in."""
    if isinstance(value, Decimal):
        return format(value.normalize(), "f")
    return value if value is None or isinstance(value, bool | int) else str(value)


_PARSERS: Mapping[str, Callable[[str], Value]] = {
    "STRING": str,
    "INT64": int,
    "NUMERIC": decimal_of,
    "DATE": date.fromisoformat,
}
