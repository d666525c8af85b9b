"""Contract discounts: one ratio between bill and computed cost over several models and days."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Final

from convergence.processors.context import OrgContext
from convergence.processors.costs.stream_inputs import DaySlices
from convergence.providers.cost_streams import Basis, Stream
from convergence.runs.slices import Finality
from convergence.warehouse.query import run_file

MIN_DAYS: Final = 7
"""Final days that a ratio needs."""
MAX_DAYS: Final = 35
"""Final days that are read, the newest."""
_COMPLETE: Final = frozenset({Finality.FINAL, Finality.RESTATED})


@dataclass(frozen=True, slots=True)
class Discount:
    """A discount that the bill applies and no rate of the org has.

    Attributes:
        ratio: billed divided by computed cost, below 1, to six decimals.
        skus: the models that have it, without dates.
    """

    ratio: Decimal
    skus: tuple[str, ...]


def find_discount(
    org: OrgContext, stream: Stream, slices: Mapping[date, DaySlices], *, sql_file: str
) -> Discount | None:
    """Find the ratio of a stream's final days, with one query; None without enough days."""
    days = sorted(day for day, one in slices.items() if _is_final(one.rows))[-MAX_DAYS:]
    if len(days) < MIN_DAYS:
        return None
    bases: Mapping[Basis, str] = {
        name: one.view_name for name, one in stream.declared.bases.items()
    }
    rows = run_file(
        org.warehouse,
        org.settings.configs_dir / sql_file,
        identifiers={
            "dataset": org.dataset,
            "usage_view": bases["computed"],
            "bill_view": bases["billed"],
        },
        params={"days": days},
    )
    return Discount(rows[0]["ratio"], tuple(rows[0]["skus"])) if rows else None


def _is_final(rows: Mapping[Basis, object]) -> bool:
    finality = [getattr(row, "finality", None) for row in rows.values()]
    return len(finality) == 2 and all(one in _COMPLETE for one in finality)
