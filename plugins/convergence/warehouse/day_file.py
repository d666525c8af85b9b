"""One day of rows, complete and hashed on disk, ready to become one partition.

The extract rooms make these, the publisher takes them; neither imports the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path


@dataclass(frozen=True, slots=True, order=True)
class Money:
    """A sum that never crosses a currency or a basis.

    Attributes:
        currency: ISO 4217 code, such as `USD`.
        basis: `computed` from usage and prices, or `billed` by the provider.
        amount: exact; at most 9 decimals once it is stored.
    """

    currency: str
    basis: str
    amount: Decimal


@dataclass(frozen=True, slots=True)
class DayFile:
    """The whole content of one UTC day of one table.

    Attributes:
        path: gzip-compressed NDJSON, one row per line; no line at all for an empty day.
        row_count: lines in it.
        content_hash: hex digest of the rows, whatever their order.
        totals: one sum per currency and basis, sorted.
        source_pages: provider pages the rows came from.
    """

    path: Path
    row_count: int
    content_hash: str
    totals: tuple[Money, ...] = ()
    source_pages: int = 0
