"""Select the days of a run from the ledger's rows and the present day, without any I/O.

Airflow's data interval is not used: a run processes each complete UTC day that is not final and
was not checked today. So a second run of the same day has nothing to do, and a missed run loses no
day. A day is due at once where a slice was invalidated or is older than its input.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Final, Protocol

from convergence.runs.slices import SliceInput

BILL_DAILY_DAYS: Final = 30
BILL_WEEKLY_DAYS: Final = 7
BILL_WAIT_DAYS: Final = 90
"""Days after a day's end in which a bill that does not cover it yet is read again."""
_INVALIDATED = "INVALIDATED"
_NEVER = datetime.min.replace(tzinfo=UTC)


class CheckedSlice(Protocol):
    """The ledger's newest row of one table's day."""

    @property
    def action(self) -> str:
        """Outcome of the check; INVALIDATED when the slice must be computed again."""

    @property
    def finality(self) -> str:
        """OPEN, SETTLING, FINAL or RESTATED."""

    @property
    def checked_at(self) -> datetime:
        """Time of the day's last request to the provider."""

    @property
    def content_hash(self) -> str:
        """The slice's content; empty where the row says nothing of it."""

    @property
    def inputs(self) -> Sequence[SliceInput]:
        """Inputs of a derived slice."""


def compute_first_day(connected_on: date, *, history_days: int) -> date:
    """Return the oldest day that is processed for an org that connected on the given day."""
    return connected_on - timedelta(days=history_days)


def find_due_days(
    ledger: Mapping[date, Mapping[str, CheckedSlice]],
    *,
    first_day: date,
    today: date,
    settle_days: int,
    max_days: int,
    tables: Sequence[str],
    uncovered: Collection[date] = (),
) -> list[date]:
    """Return the days to process now, newest first.

    Args:
        ledger: day → table → newest row; what is missing was never published.
        first_day: the oldest day of interest.
        today: the present UTC day; it is not complete and so never due.
        settle_days: for how long after a day its provider may still change it.
        max_days: most days to give. Where there are more, days without a slice come first,
            newest first, then those looked at longest ago, so that none waits for ever.
        tables: the pipeline's tables; a day is done when all of them have it.
        uncovered: days whose bill is missing or below the usage, for a pipeline that reads bills.
            They stay due although the calendar says that they are final: in every run for
            `BILL_DAILY_DAYS` after their end, then once a week for `BILL_WAIT_DAYS`.
    """
    midnight = datetime.combine(today, time.min, UTC)
    looked_at: dict[date, datetime] = {}
    for day in _list_days(first_day, today):
        rows = ledger.get(day, {})
        checked = _oldest_check(rows, tables, day, settle_days)
        if checked is None and day in uncovered and _waits_for_bill(rows, tables, day, today):
            checked = min(rows[table].checked_at for table in tables if table in rows)
        if checked is not None and (checked < midnight or _find_stale_tables(rows, tables)):
            looked_at[day] = checked
    chosen = sorted(looked_at, key=lambda day: (looked_at[day], -day.toordinal()))[:max_days]
    return sorted(chosen, reverse=True)


def _waits_for_bill(
    rows: Mapping[str, CheckedSlice], tables: Sequence[str], day: date, today: date
) -> bool:
    """Return whether the bill of a final day is read again now."""
    age = (today - day).days
    if age <= BILL_DAILY_DAYS:
        return True
    checks = [rows[table].checked_at.astimezone(UTC).date() for table in tables if table in rows]
    return age <= BILL_WAIT_DAYS and (today - min(checks)).days >= BILL_WEEKLY_DAYS


def _list_days(first: date, today: date) -> list[date]:
    return [first + timedelta(days=count) for count in range((today - first).days)]


def _find_stale_tables(rows: Mapping[str, CheckedSlice], tables: Sequence[str]) -> frozenset[str]:
    """Return tables with a wrong slice, or a slice computed from an older input."""
    return frozenset(
        table
        for table in tables
        if table in rows
        and (rows[table].action == _INVALIDATED or _has_newer_input(rows[table], rows))
    )


def _has_newer_input(row: CheckedSlice, rows: Mapping[str, CheckedSlice]) -> bool:
    """Return whether a run published newer input but ended before it computed the slice."""
    return any(
        rows[one.table].content_hash not in {"", one.content_hash}
        for one in row.inputs
        if one.table in rows
    )


def _oldest_check(
    rows: Mapping[str, CheckedSlice], tables: Sequence[str], day: date, settle_days: int
) -> datetime | None:
    """Return the oldest check of the day's open slices; None when all are final."""
    again = _find_stale_tables(rows, tables)
    found = [(table, rows.get(table)) for table in tables]
    checks = [
        row.checked_at if row else _NEVER
        for table, row in found
        if row is None or table in again or not _is_final(row, day, settle_days)
    ]
    return min(checks, default=None)


def _is_final(row: CheckedSlice, day: date, settle_days: int) -> bool:
    if row.finality == "RESTATED":
        return row.checked_at.astimezone(UTC).date() > day + timedelta(days=settle_days)
    return row.finality == "FINAL"
