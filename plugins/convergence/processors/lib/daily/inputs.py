"""Inputs of a derived slice, compared with the ledger before and after the query.

The hash of a slice is computed from its inputs' hashes in the ledger, but the query reads their
partitions. Both agree only while each partition is as the ledger's job left it. This is checked
before the query is sent. After its job has ended, a second check proves that nothing was written
in between.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

from convergence.errors import InputNotAsRecordedError
from convergence.processors.context import OrgContext
from convergence.runs.ledger import LedgerRow, SliceEnd
from convergence.runs.publisher import Attempt
from convergence.runs.recovery import recover_row
from convergence.runs.slice_states import Action
from convergence.runs.slices import Finality, SliceKey
from convergence.warehouse.jobs import JobOutcome
from convergence.warehouse.names import TableName
from convergence.warehouse.partitions.publish import is_intact
from convergence.warehouse.partitions.writers import InputWrites, input_writes

_ROW_DELAY: Final = 2.0
"""Seconds within which a running process writes its row after its job has ended."""


@dataclass(frozen=True, slots=True)
class TableInputs:
    """Inputs of a table that is computed as a whole.

    Attributes:
        org: the org that owns the tables.
        writes: the inputs' last writes.
        whole: names of the input tables.
    """

    org: OrgContext
    writes: InputWrites
    whole: Collection[str]

    def are_unchanged(self, outcome: JobOutcome) -> bool:
        """Return whether an ended job read these inputs and they are still current."""
        return _are_unchanged(self.writes, _read_writes(self.org, (), (), self.whole), outcome)


@dataclass(frozen=True, slots=True)
class DayInputs:
    """Inputs of one day.

    Attributes:
        org: the org that owns the tables.
        day: UTC day.
        rows: by table, the ledger row of the day; the partition agrees with this row.
        writes: the last writes of all inputs, read before the rows.
        whole: input tables of which any row may affect the day.
    """

    org: OrgContext
    day: date
    rows: Mapping[str, LedgerRow]
    writes: InputWrites
    whole: Collection[str]

    def are_unchanged(self, outcome: JobOutcome) -> bool:
        """Return whether an ended job read these inputs and they are still current."""
        now = _read_writes(self.org, self.rows, [self.day], self.whole)
        return _are_unchanged(self.writes, now, outcome)


@dataclass(frozen=True, slots=True)
class DaysInputs:
    """Inputs of the days that can be computed, and the error of the others.

    Attributes:
        days: inputs by day.
        not_observable: days that the provider does not report and that have no content.
        error: the error of the other days; raise it after these days are published.
    """

    days: Mapping[date, DayInputs]
    not_observable: tuple[date, ...] = ()
    error: InputNotAsRecordedError | None = None


@dataclass(frozen=True)
class Inputs:
    """Tables of an org's dataset that a derived table is computed from.

    Attributes:
        org: the org that owns the tables; the slices are those of its pipeline.
        daily: tables that the ledger describes day by day.
        whole: tables of which any row may affect a day.
    """

    org: OrgContext
    daily: Collection[str]
    whole: Collection[str] = ()

    def read_days(self, days: Sequence[date]) -> DaysInputs:
        """Read the inputs of the days whose partitions agree with the ledger.

        If a process died before it wrote its ledger row, the row is recovered from its job. If
        that fails, the input's slice is invalidated: the day is due again, and the next run of
        its pipeline extracts it again.
        """
        writes, rows = self._read_writes_and_rows(days)
        if not self._find_not_as_recorded(days, writes, rows):
            return DaysInputs(self._build_days(days, writes, rows))
        unknown = self._find_not_observable(days, rows)
        known = [day for day in days if day not in unknown]
        for key in self._find_not_as_recorded(known, writes, rows):
            self._recover_row(key, writes, rows)
        writes, rows = self._read_writes_and_rows(known)
        if self._find_not_as_recorded(known, writes, rows):
            self.org.warehouse.timeouts.sleep(_ROW_DELAY)
            writes, rows = self._read_writes_and_rows(known)
        wrong = self._find_not_as_recorded(known, writes, rows)
        right = sorted(set(known) - {key.day for key in wrong})
        return DaysInputs(
            self._build_days(right, writes, rows),
            not_observable=tuple(sorted(unknown)),
            error=self._invalidate(wrong, rows) if wrong else None,
        )

    def _find_not_observable(
        self, days: Sequence[date], rows: Mapping[SliceKey, LedgerRow]
    ) -> set[date]:
        """Find days on which an input has no content and the provider reports none any more."""
        ends = self.org.ledger.read_ends(
            {Action.NOT_OBSERVABLE},
            orgs=[self.org.org_slug],
            pipeline_id=self.org.pipeline.pipeline_id,
            since=min(days),
        )
        keys = {self._build_key(table, day) for table in self.daily for day in days}
        return {key.day for key in keys if key in ends and key not in rows}

    def _build_days(
        self, days: Sequence[date], writes: InputWrites, rows: Mapping[SliceKey, LedgerRow]
    ) -> dict[date, DayInputs]:
        return {day: self._build_day(day, writes, rows) for day in days}

    def _build_day(
        self, day: date, writes: InputWrites, rows: Mapping[SliceKey, LedgerRow]
    ) -> DayInputs:
        of_table = {table: rows[self._build_key(table, day)] for table in sorted(self.daily)}
        return DayInputs(self.org, day, of_table, writes.for_day(day), self.whole)

    def read_whole(self) -> TableInputs:
        """Read the inputs of a table that is computed as a whole."""
        return TableInputs(self.org, _read_writes(self.org, (), (), self.whole), self.whole)

    def _read_writes_and_rows(
        self, days: Sequence[date]
    ) -> tuple[InputWrites, dict[SliceKey, LedgerRow]]:
        """Read the writes first, so that a later write is noticed when the job has ended."""
        writes = _read_writes(self.org, self.daily, days, self.whole)
        if not self.daily or not days:
            return writes, {}
        rows = self.org.ledger.read_latest(
            orgs=[self.org.org_slug], pipeline_id=self.org.pipeline.pipeline_id, since=min(days)
        )
        return writes, rows

    def _find_not_as_recorded(
        self, days: Sequence[date], writes: InputWrites, rows: Mapping[SliceKey, LedgerRow]
    ) -> list[SliceKey]:
        keys = [self._build_key(table, day) for table in sorted(self.daily) for day in days]
        return [key for key in keys if not _is_as_recorded(rows.get(key), key, writes)]

    def _recover_row(
        self, key: SliceKey, writes: InputWrites, rows: Mapping[SliceKey, LedgerRow]
    ) -> None:
        recover_row(
            self.org.warehouse,
            self.org.ledger,
            key=key,
            table=TableName(self.org.dataset, key.table),
            row=rows.get(key),
            write=writes.daily.get((key.table, key.day)),
            now=self.org.now(),
            settle_days=self.org.pipeline.settle_days,
        )

    def _invalidate(
        self, wrong: Sequence[SliceKey], rows: Mapping[SliceKey, LedgerRow]
    ) -> InputNotAsRecordedError:
        self.org.ledger.invalidate_rows(
            [rows[key] for key in wrong if key in rows],
            run_id=self.org.run_id,
            now=self.org.now(),
        )
        return InputNotAsRecordedError(
            "Days of an input are missing or differ from the ledger; extract them again",
            tables=sorted({key.table for key in wrong}),
            days=sorted({key.day.isoformat() for key in wrong}),
        )

    def end_not_observable(self, days: Collection[date], attempts: Mapping[date, Attempt]) -> None:
        """Record that derived days have no content because their inputs have none."""
        self.org.ledger.append_rows(
            [
                SliceEnd(
                    key=attempts[day].key,
                    action=Action.NOT_OBSERVABLE,
                    attempt=attempts[day].number,
                    run_id=self.org.run_id,
                    finality=Finality.FINAL,
                    checked_at=self.org.now(),
                )
                for day in days
            ]
        )

    def _build_key(self, table: str, day: date) -> SliceKey:
        return SliceKey(self.org.org_slug, self.org.pipeline.pipeline_id, table, day)


def _read_writes(
    org: OrgContext, daily: Collection[str], days: Sequence[date], whole: Collection[str]
) -> InputWrites:
    return input_writes(org.warehouse, org.dataset, daily=daily, days=days, whole=whole)


def _are_unchanged(before: InputWrites, now: InputWrites, outcome: JobOutcome) -> bool:
    if now != before:
        return False
    # A job that an earlier try started may have read older content.
    return not outcome.reused or all(
        write.modified_at < outcome.started_at for write in now.list_writes()
    )


def _is_as_recorded(row: LedgerRow | None, key: SliceKey, writes: InputWrites) -> bool:
    if row is None or not row.is_valid:
        return False
    write = writes.daily.get((key.table, key.day))
    return is_intact(write, rows=row.row_count, written_by=row.job_ended_at)
