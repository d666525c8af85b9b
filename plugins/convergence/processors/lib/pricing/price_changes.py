"""The days on which a new edition of a price book has other rates, by SKU."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise
from typing import Any

from convergence.processors.lib.pricing.price_rules import SKU_COLUMNS, is_rate

PriceRow = Mapping[str, Any]
"""A row of a price table, by column."""

_RATE_UNITS = ("currency", "unit")


@dataclass(frozen=True, slots=True, order=True)
class RateChange:
    """A range of days on which the default rates of one SKU change.

    Attributes:
        sku: value by column.
        first_day: first UTC day.
        last_day: last UTC day; `date.max` without an end.
    """

    sku: tuple[tuple[str, str], ...]
    first_day: date
    last_day: date


def find_rate_changes(before: Iterable[PriceRow], after: Iterable[PriceRow]) -> list[RateChange]:
    """Return the days of every SKU whose rates, currency or unit differ, or exist on one side only.

    Args:
        before: the present defaults.
        after: the defaults of the new edition. Sources and notes are not compared.
    """
    old, new = _group_by_sku(before), _group_by_sku(after)
    found: list[RateChange] = []
    for sku in sorted(old.keys() | new.keys()):
        found += _find_sku_changes(sku, old.get(sku, []), new.get(sku, []))
    return found


def _group_by_sku(rows: Iterable[PriceRow]) -> dict[tuple[tuple[str, str], ...], list[PriceRow]]:
    found: dict[tuple[tuple[str, str], ...], list[PriceRow]] = defaultdict(list)
    for row in rows:
        found[tuple((name, str(row[name])) for name in SKU_COLUMNS if name in row)].append(row)
    return found


def _find_sku_changes(
    sku: tuple[tuple[str, str], ...], old: Sequence[PriceRow], new: Sequence[PriceRow]
) -> list[RateChange]:
    days = sorted({day for row in (*old, *new) for day in _period(row)})
    found: list[RateChange] = []
    for begins, ends in pairwise(days):
        if _rates_on(old, begins) == _rates_on(new, begins):
            continue
        touches = bool(found) and found[-1].last_day + timedelta(days=1) == begins
        first = found.pop().first_day if touches else begins
        last = date.max if ends == date.max else ends - timedelta(days=1)
        found.append(RateChange(sku, first, last))
    return found


def _period(row: PriceRow) -> tuple[date, date]:
    return row["effective_from"], row["effective_to"] or date.max


def _rates_on(rows: Sequence[PriceRow], day: date) -> dict[str, object] | None:
    """Return the rates, currency and unit in force on a day; None when no row is in force."""
    in_force = [row for row in rows if _period(row)[0] <= day < _period(row)[1]]
    if not in_force:
        return None
    newest = max(in_force, key=_period)
    return {
        name: value
        for name, value in newest.items()
        if value is not None and (is_rate(name) or name in _RATE_UNITS)
    }
