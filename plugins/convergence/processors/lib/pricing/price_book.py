"""A price book: a CSV file of dated prices, checked as a whole before any of it is used.

Every LLM provider's book has the same columns for the model or plan, the days and the source. A
book of models has rates per million tokens, and a price per unit of what is not counted in tokens.
A book of plans has the price of a seat. The table's schema lists the columns; `price_rules` holds
the rules for their values.
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
    find_row_violations,
    parse_decimal,
    require_day,
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
        """The model, tier or plan that is priced; the prices of one SKU must not overlap."""
        return tuple(str(self.values[name]) for name in SKU_COLUMNS if name in self.values)

    @property
    def effective_from(self) -> date:
        """First day in force."""
        return require_day(self.values["effective_from"])

    @property
    def effective_to(self) -> date:
        """First day no longer in force; `date.max` when the file gives none."""
        end = self.values["effective_to"]
        return date.max if end is None else require_day(end)


@dataclass(frozen=True, slots=True)
class PriceBook:
    """All prices of a file, in its order."""

    path: Path
    prices: tuple[Price, ...]

    @classmethod
    def from_file(cls, path: Path, *, columns: Mapping[str, str]) -> PriceBook:
        """Read and check a file.

        Args:
            path: a CSV file with a header.
            columns: column → BigQuery type of the table that the book fills.

        Raises:
            PriceBookError: `errors` lists every violation as `file:line: field: message`.
        """
        in_file = {name: kind for name, kind in columns.items() if name not in FILLED_BY_SEED}
        reader = _BookReader(path, columns=in_file)
        prices = reader.read_prices()
        violations = sorted(reader.violations or find_overlaps(prices))
        if violations:
            raise PriceBookError(
                "The price book has errors",
                errors=[f"{path.name}:{line}: {field}: {text}" for line, field, text in violations],
            )
        return cls(path, tuple(prices))

    @property
    def edition(self) -> str:
        """The newest version that a line names; it is the version of the book."""
        return max((str(price.values.get(VERSION) or "") for price in self.prices), default="")

    def list_rows(self) -> list[dict[str, str]]:
        """Return every price as column → text, without empty cells; SQL casts the text exactly."""
        return [
            {
                name: str(_to_canonical(value))
                for name, value in price.values.items()
                if value is not None
            }
            for price in self.prices
        ]


LineViolation = tuple[int, str, str]
"""A line of the file, a field, and a message."""


class _BookReader:
    def __init__(self, path: Path, *, columns: Mapping[str, str]) -> None:
        self._path = path
        self._columns = columns
        self.violations: list[LineViolation] = []

    def read_prices(self) -> list[Price]:
        with self._path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            try:
                if not self._header_fits(reader.fieldnames or ()):
                    return []
                return [self._read_price(reader.line_num, cells) for cells in reader]
            except csv.Error as error:
                self.violations.append((reader.line_num, "(row)", str(error)))
                return []

    def _header_fits(self, header: Sequence[str]) -> bool:
        for name in sorted(set(self._columns) - set(header)):
            self.violations.append((1, name, "the column is missing"))
        for name in sorted(set(header) - set(self._columns)):
            self.violations.append((1, name, "no such column in the table"))
        for name in sorted({name for name in header if list(header).count(name) > 1}):
            self.violations.append((1, name, "the column appears twice"))
        return not self.violations

    def _read_price(self, line: int, cells: Mapping[str | None, Any]) -> Price:
        before = len(self.violations)
        if None in cells or None in cells.values():
            self.violations.append((line, "(row)", f"the row must have {len(self._columns)} cells"))
            return Price(line, {})
        price = Price(
            line, {name: self._parse_cell(line, name, cells[name]) for name in self._columns}
        )
        if len(self.violations) == before:
            self.violations += [
                (line, field, text) for field, text in find_row_violations(price.values)
            ]
        return price

    def _parse_cell(self, line: int, name: str, cell: str) -> Value:
        text = cell.strip()
        if not text:
            return None
        kind = self._columns[name]
        try:
            return _PARSERS[kind](text)
        except ArithmeticError:
            self.violations.append((line, name, f"{text!r} is not a valid {kind}"))
        except ValueError as error:
            self.violations.append((line, name, f"{text!r} is not a valid {kind}: {error}"))
        return None


def find_overlaps(prices: Iterable[Price]) -> list[LineViolation]:
    """Return a violation for each two prices of one SKU that are in force on the same day."""
    by_sku: dict[tuple[str, ...], list[Price]] = {}
    for price in prices:
        by_sku.setdefault(price.sku, []).append(price)
    return [
        (later.line, "effective_from", _describe_overlap(earlier, later))
        for _, rows in sorted(by_sku.items())
        for earlier, later in pairwise(sorted(rows, key=lambda row: (row.effective_from, row.line)))
        if later.effective_from < earlier.effective_to
    ]


def _describe_overlap(earlier: Price, later: Price) -> str:
    end = earlier.values["effective_to"] or "further notice"
    other = f"line {earlier.line}: {'/'.join(earlier.sku)} from {earlier.effective_from} to {end}"
    return f"{later.effective_from} overlaps {other}"


def hash_price_rows(rows: Iterable[Mapping[str, object]]) -> str:
    """Return a hash of the price rows of a table; their order does not matter."""
    lines = sorted(
        json.dumps({name: _to_canonical(value) for name, value in row.items()}, sort_keys=True)
        for row in rows
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _to_canonical(value: object) -> object:
    """Return equal amounts as equal text, without the zeros that they end in."""
    if isinstance(value, Decimal):
        return format(value.normalize(), "f")
    return value if value is None or isinstance(value, bool | int) else str(value)


_PARSERS: Mapping[str, Callable[[str], Value]] = {
    "STRING": str,
    "INT64": int,
    "NUMERIC": parse_decimal,
    "DATE": date.fromisoformat,
}
