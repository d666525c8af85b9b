"""What a new edition of a price book changes: per SKU, on which days other rates are in force."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise
from typing import Any

from convergence.processors.lib.pricing.price_rules import SKU_COLUMNS, is_rate

Terms = Mapping[str, Any]
"""A row of prices, by column."""

_ALSO_PRICE = ("currency", "unit")


@dataclass(frozen=True, slots=True, order=True)
class Change:
    """Days on which one SKU's default is another than before.

    Attributes:
        sku: value by column.
        first_day: first UTC day.
        last_day: last UTC day; `date.max` without an end.
    """

    sku: tuple[tuple[str, str], ...]
    first_day: date
    last_day: date


def changes(before: Iterable[Terms], after: Iterable[Terms]) -> list[Change]:
    """Every SKU's days with other rates, another currency or unit, none where there were some.

    Args:
        before: the defaults as they stand.
        after: those of the new edition. What either says of sources and notes does not matter.
    """
    old, new = _by_sku(before), _by_sku(after)
    found: list[Change] = []
    for sku in sorted(old.keys() | new.keys()):
        found += _of_sku(sku, old.get(sku, []), new.get(sku, []))
    return found


def _by_sku(rows: Iterable[Terms]) -> dict[tuple[tuple[str, str], ...], list[Terms]]:
    found: dict[tuple[tuple[str, str], ...], list[Terms]] = defaultdict(list)
    for row in rows:
        found[tuple((name, str(row[name])) for name in SKU_COLUMNS if name in row)].append(row)
    return found


def _of_sku(
    sku: tuple[tuple[str, str], ...], old: Sequence[Terms], new: Sequence[Terms]
) -> list[Change]:
    edges = sorted({edge for row in (*old, *new) for edge in _edges(row)})
    found: list[Change] = []
    for begins, ends in pairwise(edges):
        if _rates_on(old, begins) == _rates_on(new, begins):
            continue
        touches = bool(found) and found[-1].last_day + timedelta(days=1) == begins
        first = found.pop().first_day if touches else begins
        last = date.max if ends == date.max else ends - timedelta(days=1)
        found.append(Change(sku, first, last))
    return found


def _edges(row: Terms) -> tuple[date, date]:
    return row["effective_from"], row["effective_to"] or date.max


def _rates_on(rows: Sequence[Terms], day: date) -> dict[str, object] | None:
    """The newest terms in force on a day, as far as they price; None without any."""
    in_force = [row for row in rows if _edges(row)[0] <= day < _edges(row)[1]]
    if not in_force:
        return None
    newest = max(in_force, key=_edges)
    return {
        name: value
        for name, value in newest.items()
        if value is not None and (is_rate(name) or name in _ALSO_PRICE)
    }
