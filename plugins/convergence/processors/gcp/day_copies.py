"""Choose whose rows the copy of a day takes: an export's, or rows that were copied before.

Google never changes or removes an exported row. So rows of our copy that their own export no longer
has are rows of expired partitions, and they stay. Another export of the account, or a table that
was made again under the same name, takes a day over only when it holds at least as much of it: the
detailed export begins on the day it is switched on, and a new table is filled over days.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final

DayKey = tuple[date, str | None]
"""A usage day and a billing account."""
TOLERANCE: Final = Decimal("1e-6")
"""Share of an amount that two exports may differ by; they hold floating-point numbers."""


@dataclass
class Holding:
    """What one table holds of one day and billing account.

    Attributes:
        table: full name of the export.
        created_at: when the table was made; None for rows that were copied without it.
        export_times: when its rows were exported.
        gross: by currency, the cost of its usage, without credits and corrections.
    """

    table: str
    created_at: datetime | None
    export_times: set[datetime] = field(default_factory=set)
    gross: dict[str, Decimal] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Choice:
    """Whose rows one day of one billing account takes.

    Attributes:
        export: the export whose rows it takes; None for no export.
        kept: export times of the copied rows that stay.
    """

    export: str | None
    kept: frozenset[datetime] = frozenset()


def group_holdings(rows: Iterable[Mapping[str, Any]]) -> dict[DayKey, list[Holding]]:
    """Group rows of `copied_batches.sql` or `exported_batches.sql` by day and account."""
    found: dict[tuple[DayKey, str, datetime | None], Holding] = {}
    for row in rows:
        day: DayKey = (row["usage_date"], row["billing_account_id"])
        key = day, row["source_table"], row["source_created_at"]
        holding = found.setdefault(key, Holding(key[1], key[2]))
        holding.export_times.add(row["export_time"])
        gross = holding.gross.get(row["currency"], Decimal(0))
        holding.gross[row["currency"]] = gross + row["gross"]
    holdings: dict[DayKey, list[Holding]] = {}
    for (day, _, _), holding in found.items():
        holdings.setdefault(day, []).append(holding)
    return holdings


def choose_rows(copied: Sequence[Holding], exported: Sequence[Holding]) -> Choice:
    """Choose the rows of one day and account.

    Args:
        copied: what our copy holds.
        exported: what the exports hold, the preferred export first.
    """
    if not copied:
        return Choice(exported[0].table if exported else None)
    copied_times = {time for one in copied for time in one.export_times}
    for candidate in exported:
        if all(_is_same_table(one, candidate) for one in copied):
            return Choice(candidate.table, frozenset(copied_times - candidate.export_times))
        if _holds_as_much(candidate, copied):
            return Choice(candidate.table)
    return Choice(None, frozenset(copied_times))


def _is_same_table(copied: Holding, exported: Holding) -> bool:
    same_creation = copied.created_at in {None, exported.created_at}
    return copied.table == exported.table and same_creation


def _holds_as_much(exported: Holding, copied: Sequence[Holding]) -> bool:
    before: dict[str, Decimal] = {}
    for one in copied:
        for currency, amount in one.gross.items():
            before[currency] = before.get(currency, Decimal(0)) + amount
    return all(
        exported.gross.get(currency, Decimal(0)) >= amount - _tolerated(amount)
        for currency, amount in before.items()
    )


def _tolerated(amount: Decimal) -> Decimal:
    return TOLERANCE * max(abs(amount), Decimal(1))
