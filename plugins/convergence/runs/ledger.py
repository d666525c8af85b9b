"""The ledger: one row per look at a slice, appended; the newest says what is published.

It records, it does not decide: the publish job is the truth, and a row that is missing, late or
twice there costs a comparison or a repeated job, never a wrong partition.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Any, Final

from convergence.errors import ConfigurationError
from convergence.runs.slices import Finality, SliceKey
from convergence.warehouse.client import Warehouse
from convergence.warehouse.names import central
from convergence.warehouse.query import Row, run_file
from convergence.warehouse.sealed import Money
from convergence.warehouse.stream import append

TABLE: Final = central("org_meta_slices")
_EVER: Final = date(1970, 1, 1)


class Action(StrEnum):
    """What a look at a slice led to."""

    PUBLISHED = "PUBLISHED"
    UNCHANGED = "UNCHANGED"
    """The content was already there: no job was needed."""
    RECOVERED = "RECOVERED"
    """An earlier call's job had published it and left no row."""


@dataclass(frozen=True, slots=True)
class Replaced:
    """What a publish put other content in place of.

    Attributes:
        run_id: the run that last looked at it.
        row_count: its rows.
        totals: its sums by currency and basis.
    """

    run_id: str
    row_count: int
    totals: tuple[Money, ...]

    @classmethod
    def of(cls, row: LedgerRow) -> Replaced:
        """What a row of the ledger told."""
        return cls(row.run_id, row.row_count, row.totals)


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerRow:
    """A slice's state after one look.

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


class Ledger:
    """`org_meta_slices`, read by its newest rows and written by appending."""

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse

    def latest(
        self, *, orgs: Sequence[str], pipeline_id: str, since: date | None = None
    ) -> dict[SliceKey, LedgerRow]:
        """The newest row of each slice.

        Newest is the highest attempt, then the latest check: attempts of one slice rise whatever
        the clocks of two workers say.

        Args:
            orgs: whose slices; one query for all of them.
            pipeline_id: of which pipeline.
            since: the oldest day of interest. It bounds the query's cost too; without it the
                orgs' whole history is read.

        Raises:
            NotBootstrappedError: the ledger's table is missing.
            WarehouseUnavailableError, WarehouseError: as every query.
        """
        if not orgs:
            return {}
        rows = run_file(
            self._warehouse,
            self._warehouse.sql("ledger/latest.sql"),
            params={
                "orgs": sorted(set(orgs)),
                "pipeline_id": pipeline_id,
                "since": since or _EVER,
            },
        )
        return {row.key: row for row in map(_from_row, rows)}

    def record(self, rows: Sequence[LedgerRow]) -> None:
        """Append rows.

        Raises:
            ConfigurationError: a look that precedes the day it looked at; `latest` relies on
                there being none.
            NotBootstrappedError, WarehouseUnavailableError, WarehouseError: as every append.
        """
        for row in rows:
            if row.checked_at < row.key.begins_at:
                raise ConfigurationError("A slice can't be checked before its day", key=row.key.id)
        append(self._warehouse, TABLE, [(_row_id(row), _to_row(row)) for row in rows])


def _row_id(row: LedgerRow) -> str:
    told = f"{row.key.id}|{row.attempt}|{row.action}|{row.job_id}|{row.checked_at.isoformat()}"
    return hashlib.sha256(told.encode()).hexdigest()[:32]


def _to_row(row: LedgerRow) -> Mapping[str, Any]:
    return {
        "org_slug": row.key.org_slug,
        "pipeline_id": row.key.pipeline_id,
        "table_name": row.key.table,
        "slice_day": row.key.day,
        "action": row.action.value,
        "attempt": row.attempt,
        "run_id": row.run_id,
        "job_id": row.job_id,
        "content_hash": row.content_hash,
        "row_count": row.row_count,
        "totals": _to_sums(row.totals),
        "source_pages": row.source_pages,
        "finality": row.finality.value,
        "checked_at": row.checked_at,
        "job_ended_at": row.job_ended_at,
        **_to_replaced(row.replaced),
    }


def _to_sums(totals: Sequence[Money]) -> list[dict[str, Any]]:
    return [
        {"currency": money.currency, "basis": money.basis, "amount": money.amount}
        for money in totals
    ]


def _to_replaced(replaced: Replaced | None) -> dict[str, Any]:
    if replaced is None:
        return {}
    return {
        "previous_run_id": replaced.run_id,
        "previous_row_count": replaced.row_count,
        "previous_totals": _to_sums(replaced.totals),
    }


def _from_row(row: Row) -> LedgerRow:
    return LedgerRow(
        key=SliceKey(
            org_slug=row["org_slug"],
            pipeline_id=row["pipeline_id"],
            table=row["table_name"],
            day=row["slice_day"],
        ),
        action=Action(row["action"]),
        attempt=row["attempt"],
        run_id=row["run_id"],
        job_id=row["job_id"],
        content_hash=row["content_hash"],
        row_count=row["row_count"],
        totals=_from_sums(row["totals"]),
        source_pages=row["source_pages"] or 0,
        finality=Finality(row["finality"]),
        checked_at=row["checked_at"],
        job_ended_at=row["job_ended_at"],
        replaced=_from_replaced(row),
    )


def _from_sums(totals: Sequence[Row] | None) -> tuple[Money, ...]:
    return tuple(
        Money(currency=money["currency"], basis=money["basis"], amount=money["amount"])
        for money in totals or ()
    )


def _from_replaced(row: Row) -> Replaced | None:
    if row["previous_run_id"] is None:
        return None
    totals = _from_sums(row["previous_totals"])
    return Replaced(row["previous_run_id"], row["previous_row_count"], totals)
