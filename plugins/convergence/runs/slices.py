"""A slice: one UTC day of one table of one pipeline of one org. The unit that is published."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum


class Finality(StrEnum):
    """Finality of a day's numbers."""

    OPEN = "OPEN"
    """The day is not over."""
    SETTLING = "SETTLING"
    """It is over, and its provider may still change it."""
    FINAL = "FINAL"
    """Its provider changes it no more."""
    RESTATED = "RESTATED"
    """It changed after it had been final."""


@dataclass(frozen=True, slots=True, order=True)
class SliceKey:
    """A slice's identity."""

    org_slug: str
    pipeline_id: str
    table: str
    day: date

    @property
    def id(self) -> str:
        """The identity as text; no part holds a slash."""
        return f"{self.org_slug}/{self.pipeline_id}/{self.table}/{self.day.isoformat()}"

    @property
    def begins_at(self) -> datetime:
        """Midnight UTC at which the day begins."""
        return datetime.combine(self.day, time.min, UTC)


@dataclass(frozen=True, slots=True, order=True)
class SliceInput:
    """A table that a derived slice was computed from, and its content at that time.

    Attributes:
        table: of the org's dataset.
        content_hash: the ledger's hash of the input's slice of the same day, or a digest of the
            rows that were read of a table without days.
    """

    table: str
    content_hash: str


def compute_finality(day: date, now: datetime, settle_days: int) -> Finality:
    """Compute a day's finality from the calendar alone.

    Args:
        day: UTC day.
        now: aware.
        settle_days: whole days after the day's end in which its provider may still change it.
    """
    end = datetime.combine(day + timedelta(days=1), time.min, UTC)
    if now < end:
        return Finality.OPEN
    return Finality.SETTLING if now < end + timedelta(days=settle_days) else Finality.FINAL


def advance_finality(calendar: Finality, *, before: Finality | None, changed: bool) -> Finality:
    """Compute a slice's finality after a check.

    Args:
        calendar: what `finality` says.
        before: what the ledger said; None when the slice was never published.
        changed: whether the content differs from what the ledger had.

    A change of what was final is a restatement; it stays one until a look finds no more change.
    """
    settled = before in {Finality.FINAL, Finality.RESTATED}
    return Finality.RESTATED if settled and changed else calendar
