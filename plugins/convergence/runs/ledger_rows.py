"""The ledger's rows: how one attempt at a slice ended, and the slice's content, if any."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from convergence.runs.figure_columns import (
    LowerRead,
    build_figures,
    build_lower_read,
    parse_figures,
    parse_lower_read,
)
from convergence.runs.slice_states import Action
from convergence.runs.slices import Finality, SliceInput, SliceKey
from convergence.warehouse.day_file import Figures, Money
from convergence.warehouse.query import Row

REATTRIBUTED = "REATTRIBUTED"
"""Change of a slice whose total stays, although its rows differ."""


@dataclass(frozen=True, slots=True)
class Replaced:
    """The content that a publication replaced.

    Attributes:
        run_id: the run that last looked at it.
        row_count: its rows.
        totals: its sums by currency and basis.
    """

    run_id: str
    row_count: int
    totals: tuple[Money, ...]

    @classmethod
    def from_row(cls, row: LedgerRow) -> Replaced:
        """Build it from the ledger's row of that content."""
        return cls(row.run_id, row.row_count, row.totals)


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerRow:
    """A slice's content after one check: a row in one of the `CONTENT` states.

    Attributes:
        key: the slice.
        action: what was done.
        attempt: the fence number of the attempt that did it.
        run_id: the org run that looked.
        job_id: the job whose rows are in the partition.
        content_hash: of those rows, or of all that a query's rows follow from.
        row_count: how many.
        totals: one sum per currency and basis.
        source_pages: provider pages the rows came from.
        finality: how settled they are.
        checked_at: when the run looked, UTC.
        job_ended_at: when the job ended, UTC; a partition written later was written by another.
        replaced: the content before, where this look changed it; None for the first content.
        inputs: what a derived slice was computed from; none for what a provider says.
        figures: what the shrink guard compares; None where the table is not guarded, and in rows
            of older releases.
        lower_pending: a lower read that waits for its confirmation.
        change: REATTRIBUTED where new rows divide the total that the day had before.
        content_since: when this content was first read, UTC; None in rows of older releases.
    """

    key: SliceKey
    action: Action
    attempt: int
    run_id: str
    job_id: str
    content_hash: str
    row_count: int
    totals: tuple[Money, ...] = ()
    source_pages: int = 0
    finality: Finality
    checked_at: datetime
    job_ended_at: datetime
    replaced: Replaced | None = None
    inputs: tuple[SliceInput, ...] = ()
    figures: Figures | None = None
    lower_pending: LowerRead | None = None
    change: str | None = None
    content_since: datetime | None = None

    @property
    def is_valid(self) -> bool:
        """Whether the content is valid; an invalid slice must be computed again."""
        return self.action is not Action.INVALIDATED


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceEnd:
    """How an attempt at a slice ended, in any state; without the slice's amounts.

    Attributes:
        key: the slice.
        action: the state.
        attempt: the fence number of the attempt.
        run_id: the org run.
        finality: how settled the day is.
        checked_at: when the run looked, UTC.
        content_hash: of the slice's content; empty in a state without.
        inputs: what a derived slice was computed from.
        lower_pending: a lower read that was not published.
    """

    key: SliceKey
    action: Action
    attempt: int
    run_id: str
    finality: Finality
    checked_at: datetime
    content_hash: str = ""
    inputs: tuple[SliceInput, ...] = ()
    lower_pending: LowerRead | None = None


def compute_row_id(row: LedgerRow | SliceEnd) -> str:
    """Return the id by which BigQuery drops a row that is sent twice."""
    job_id = row.job_id if isinstance(row, LedgerRow) else ""
    parts = (row.key.id, row.attempt, row.action, job_id, row.checked_at.isoformat())
    return hashlib.sha256("|".join(map(str, parts)).encode()).hexdigest()[:32]


def build_row(row: LedgerRow | SliceEnd) -> Mapping[str, Any]:
    """Build the table's row; the columns of content are empty where there is no content."""
    values: dict[str, Any] = {
        "org_slug": row.key.org_slug,
        "pipeline_id": row.key.pipeline_id,
        "table_name": row.key.table,
        "slice_day": row.key.day,
        "action": row.action.value,
        "attempt": row.attempt,
        "run_id": row.run_id,
        "finality": row.finality.value,
        "checked_at": row.checked_at,
    }
    content = _build_content(row) if isinstance(row, LedgerRow) else _build_empty_content(row)
    return values | content | build_lower_read(row.lower_pending)


def _build_content(row: LedgerRow) -> dict[str, Any]:
    return {
        "job_id": row.job_id,
        "content_hash": row.content_hash,
        "row_count": row.row_count,
        "totals": _build_totals(row.totals),
        "source_pages": row.source_pages,
        "job_ended_at": row.job_ended_at,
        "inputs": [
            {"table_name": one.table, "content_hash": one.content_hash} for one in row.inputs
        ],
        "change": row.change,
        "content_since": row.content_since,
        **_build_replaced(row.replaced),
        **build_figures(row.figures),
    }


def _build_empty_content(row: SliceEnd) -> dict[str, Any]:
    # The columns are REQUIRED in tables that exist already. Readers go by the action.
    return {
        "job_id": "",
        "content_hash": "",
        "row_count": 0,
        "totals": [],
        "job_ended_at": row.checked_at,
    }


def _build_totals(totals: Sequence[Money]) -> list[dict[str, Any]]:
    return [
        {"currency": money.currency, "basis": money.basis, "amount": money.amount}
        for money in totals
    ]


def _build_replaced(replaced: Replaced | None) -> dict[str, Any]:
    if replaced is None:
        return {}
    return {
        "previous_run_id": replaced.run_id,
        "previous_row_count": replaced.row_count,
        "previous_totals": _build_totals(replaced.totals),
    }


def parse_content(row: Row) -> LedgerRow:
    """Parse a stored row in one of the `CONTENT` states."""
    return LedgerRow(
        key=_parse_key(row),
        action=Action(row["action"]),
        attempt=row["attempt"],
        run_id=row["run_id"],
        job_id=row["job_id"],
        content_hash=row["content_hash"],
        row_count=row["row_count"],
        totals=_parse_totals(row["totals"]),
        source_pages=row["source_pages"] or 0,
        finality=Finality(row["finality"]),
        checked_at=row["checked_at"],
        job_ended_at=row["job_ended_at"],
        replaced=_parse_replaced(row),
        inputs=_parse_inputs(row),
        figures=parse_figures(row),
        lower_pending=parse_lower_read(row),
        change=row["change"],
        content_since=row["content_since"],
    )


def parse_end(row: Row) -> SliceEnd:
    """Parse a stored row in any state."""
    return SliceEnd(
        key=_parse_key(row),
        action=Action(row["action"]),
        attempt=row["attempt"],
        run_id=row["run_id"],
        finality=Finality(row["finality"]),
        checked_at=row["checked_at"],
        content_hash=row["content_hash"],
        inputs=_parse_inputs(row),
        lower_pending=parse_lower_read(row),
    )


def _parse_key(row: Row) -> SliceKey:
    return SliceKey(
        org_slug=row["org_slug"],
        pipeline_id=row["pipeline_id"],
        table=row["table_name"],
        day=row["slice_day"],
    )


def _parse_inputs(row: Row) -> tuple[SliceInput, ...]:
    return tuple(SliceInput(one["table_name"], one["content_hash"]) for one in row["inputs"] or ())


def _parse_totals(totals: Sequence[Row] | None) -> tuple[Money, ...]:
    return tuple(
        Money(currency=money["currency"], basis=money["basis"], amount=money["amount"])
        for money in totals or ()
    )


def _parse_replaced(row: Row) -> Replaced | None:
    if row["previous_run_id"] is None:
        return None
    totals = _parse_totals(row["previous_totals"])
    return Replaced(row["previous_run_id"], row["previous_row_count"], totals)
