"""One complete day of rows in a file, with its hash and totals, ready to become one partition.

The package `extract` writes these files and the publisher loads them; neither imports the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path


@dataclass(frozen=True, slots=True, order=True)
class Money:
    """A sum of one currency and one basis.

    Attributes:
        currency: ISO 4217 code, such as `USD`.
        basis: `computed` from usage and prices, or `billed` by the provider.
        amount: exact; at most 9 decimals once it is stored.
    """

    currency: str
    basis: str
    amount: Decimal


@dataclass(frozen=True, slots=True, order=True)
class Measure:
    """A sum in one unit.

    Attributes:
        unit: a currency's code, or the unit of a quantity.
        amount: exact; rounded to 9 decimals, the scale in which it is stored.
    """

    unit: str
    amount: Decimal


@dataclass(frozen=True, slots=True)
class Figures:
    """What a source states of a day, to be compared with another read of the same day.

    Attributes:
        query_version: digest of the query, its grouping and the columns. Row counts are compared
            only between figures with the same digest.
        rows: number of rows.
        gross: amounts by currency, without credits, refunds, taxes and corrections; sorted.
        quantities: of the same rows, by unit; sorted.
    """

    query_version: str
    rows: int
    gross: tuple[Measure, ...] = ()
    quantities: tuple[Measure, ...] = ()


@dataclass(frozen=True, slots=True)
class DayFile:
    """The complete content of one UTC day of one table.

    Attributes:
        path: gzip-compressed NDJSON, one row per line; an empty day has no lines.
        row_count: number of lines.
        content_hash: hex digest of the rows, independent of their order.
        totals: one sum per currency and basis, sorted.
        source_pages: number of provider pages with rows of the day.
        figures: what the shrink guard compares; None where the table is not guarded.
    """

    path: Path
    row_count: int
    content_hash: str
    totals: tuple[Money, ...] = ()
    source_pages: int = 0
    figures: Figures | None = None
