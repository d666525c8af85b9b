"""What a day of a cost stream is made from: the newest slices of its bases and their states."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

from convergence.processors.context import OrgContext
from convergence.providers.cost_streams import Basis, Stream
from convergence.runs.ledger import LedgerRow
from convergence.runs.slices import Finality, SliceInput, SliceKey

STEADY_READS: Final = timedelta(hours=24)
"""Two equal reads of a bill this far apart say that it no longer changes."""
BILL_WAIT: Final = timedelta(days=90)
"""A computed day of a stream with a bill is final when the bill has not covered it for so long."""
_COMPLETE: Final = frozenset({Finality.FINAL, Finality.RESTATED})


@dataclass(frozen=True, slots=True)
class DaySlices:
    """The newest slices of a day.

    Attributes:
        day: UTC day.
        rows: by basis, the ledger row with content; a basis without one is missing.
        is_valid: whether no check has found one of them wrong.
    """

    day: date
    rows: Mapping[Basis, LedgerRow]

    @property
    def is_valid(self) -> bool:
        """Return whether no check has found a slice wrong."""
        return all(row.is_valid for row in self.rows.values())

    @property
    def inputs(self) -> tuple[SliceInput, ...]:
        """Return the tables with the hashes of their content."""
        return tuple(
            SliceInput(row.key.table, row.content_hash) for _, row in sorted(self.rows.items())
        )


@dataclass(frozen=True, slots=True)
class DayStates:
    """What the statement of a day needs to know of the slices.

    Attributes:
        bill: the bill where none is published: `expected`, or `no_bill` if the stream has none.
        usage: `published`, `missing`, or `none` if the stream computes no cost.
        bill_is_final: whether the provider changes the bill no more.
        bill_is_steady: whether two reads at least 24 hours apart gave the same bill.
        finality: by basis, of a row that shows it.
    """

    bill: str
    usage: str
    bill_is_final: bool
    bill_is_steady: bool
    finality: Mapping[str, Finality]


def read_ledger(org: OrgContext, streams: Sequence[Stream]) -> dict[SliceKey, LedgerRow]:
    """Read the newest slices of the streams and of their bases, of every day, with one query."""
    pipelines = {
        basis.pipeline for stream in streams for basis in stream.declared.bases.values()
    } | {stream.pipeline_id for stream in streams}
    return org.ledger.read_latest_of_pipelines(pipelines, orgs=[org.org_slug])


def find_slices(
    stream: Stream, ledger: Mapping[SliceKey, LedgerRow], *, today: date
) -> dict[date, DaySlices]:
    """Find the newest slices of every complete day of a stream."""
    found: dict[date, dict[Basis, LedgerRow]] = {}
    for name, basis in stream.declared.bases.items():
        for key, row in ledger.items():
            if key.pipeline_id != basis.pipeline or key.table != basis.table:
                continue
            for day in _list_month(key.day) if basis.monthly else [key.day]:
                if day < today:
                    found.setdefault(day, {})[name] = row
    return {day: DaySlices(day, bases) for day, bases in found.items()}


def find_published(
    pipeline_id: str, table: str, ledger: Mapping[SliceKey, LedgerRow]
) -> dict[date, LedgerRow]:
    """Find the newest slice of each published day of a table."""
    return {
        key.day: row
        for key, row in ledger.items()
        if key.pipeline_id == pipeline_id and key.table == table
    }


def find_states(stream: Stream, slices: DaySlices, *, now: datetime) -> DayStates:
    """Find the states of a day's slices.

    Args:
        stream: the stream.
        slices: the day's newest slices.
        now: aware.
    """
    bases, rows = stream.declared.bases, slices.rows
    billed = rows.get("billed")
    is_final = billed is not None and billed.finality in _COMPLETE
    finality: dict[str, Finality] = {basis: row.finality for basis, row in rows.items()}
    if "billed" in bases and "computed" in finality:
        finality["computed"] = _wait_for_bill(finality["computed"], slices.day, now=now)
    return DayStates(
        bill="expected" if "billed" in bases else "no_bill",
        usage=("published" if "computed" in rows else "missing") if "computed" in bases else "none",
        bill_is_final=is_final,
        bill_is_steady=billed is not None
        and billed.checked_at - (billed.content_since or billed.job_ended_at) >= STEADY_READS,
        finality=finality,
    )


def _wait_for_bill(finality: Finality, day: date, *, now: datetime) -> Finality:
    """Return the finality of a computed day whose bill may still come."""
    end = datetime.combine(day + timedelta(days=1), time.min, UTC)
    if finality in _COMPLETE and now < end + BILL_WAIT:
        return Finality.SETTLING
    return finality


def _list_month(first: date) -> Iterator[date]:
    day = first
    while day.month == first.month:
        yield day
        day += timedelta(days=1)


def list_tables(slices: Sequence[DaySlices]) -> set[str]:
    """Return the tables that the slices are of."""
    return {row.key.table for one in slices for row in one.rows.values()}
