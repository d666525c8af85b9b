"""The ledger's columns with figures: of a slice's content, and of a lower read kept back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from convergence.warehouse.day_file import Figures, Measure
from convergence.warehouse.query import Row

CONFIRMED_AFTER: Final = timedelta(hours=12)
"""Time after which an equal read confirms a lower one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LowerRead:
    """A read that held less than the published content and was not published.

    Attributes:
        figures: what was read.
        content_hash: of what was read.
        read_at: when these figures were first read, UTC.
        reads: number of lower reads in a row of which each differed from the one before.
        refused_by: the org run that was the first to refuse lower content of the slice; None while
            none did. Only this run's end is announced.
    """

    figures: Figures
    content_hash: str
    read_at: datetime
    reads: int = 1
    refused_by: str | None = None

    def is_confirmable(self, now: datetime) -> bool:
        """Return whether an equal read at this time confirms the lower read."""
        return now - self.read_at >= CONFIRMED_AFTER


def build_figures(figures: Figures | None) -> dict[str, Any]:
    """Build the columns of a slice's figures; its rows are in `row_count`."""
    if figures is None:
        return {}
    return {
        "query_version": figures.query_version,
        "gross": _build_measures(figures.gross, unit="currency"),
        "quantities": _build_measures(figures.quantities, unit="unit"),
    }


def build_lower_read(lower: LowerRead | None) -> dict[str, Any]:
    """Build the column of a lower read."""
    if lower is None:
        return {}
    values = {
        "read_at": lower.read_at,
        "content_hash": lower.content_hash,
        "row_count": lower.figures.rows,
        "reads": lower.reads,
        **({} if lower.refused_by is None else {"refused_by": lower.refused_by}),
        **build_figures(lower.figures),
    }
    return {"lower_pending": values}


def parse_figures(row: Row) -> Figures | None:
    """Parse the figures of a stored row; None where it has none, as rows of older releases."""
    if row["query_version"] is None:
        return None
    return Figures(
        query_version=row["query_version"],
        rows=row["row_count"],
        gross=_parse_measures(row["gross"], unit="currency"),
        quantities=_parse_measures(row["quantities"], unit="unit"),
    )


def parse_lower_read(row: Row) -> LowerRead | None:
    """Parse the lower read of a stored row."""
    lower = row["lower_pending"]
    figures = None if lower is None else parse_figures(lower)
    if lower is None or figures is None:
        return None
    return LowerRead(
        figures=figures,
        content_hash=lower["content_hash"],
        read_at=lower["read_at"],
        reads=lower["reads"],
        refused_by=lower["refused_by"],
    )


def _build_measures(measures: Sequence[Measure], *, unit: str) -> list[dict[str, Any]]:
    return [{unit: one.unit, "amount": one.amount} for one in measures]


def _parse_measures(measures: Sequence[Row] | None, *, unit: str) -> tuple[Measure, ...]:
    return tuple(Measure(one[unit], one["amount"]) for one in measures or ())
