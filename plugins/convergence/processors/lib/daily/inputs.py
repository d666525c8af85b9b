"""What a derived slice is computed from: the ledger's word for it, checked before and after.

A slice's hash is made of its inputs' hashes in the ledger, and the query reads their partitions.
The two are the same only while every partition is as the ledger's job left it: so that is checked
before the query is sent, and that nothing was written since is checked when its job has ended.
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
from convergence.warehouse.publish import is_intact
from convergence.warehouse.writers import InputWrites, input_writes

_ROW_DELAY: Final = 2.0
"""Seconds in which a living process writes its row after its job has ended."""


@dataclass(frozen=True, slots=True)
class TableInputs:
    """The inputs of a table that is computed as a whole.

    Attributes:
        org: whose tables.
        writes: the inputs' last writes.
        whole: the inputs.
    """

    org: OrgContext
    writes: InputWrites
    whole: Collection[str]

    def stand(self, outcome: JobOutcome) -> bool:
        """Whether a job that has ended read these inputs, and they are the present ones."""
        return _stand(self.writes, _look(self.org, (), (), self.whole), outcome)


@dataclass(frozen=True, slots=True)
class DayInputs:
    """The inputs of one day.

    Attributes:
        org: whose tables.
        day: UTC day.
        rows: by table, the ledger's row of the day; its partition is as this row says.
        writes: the last writes of all inputs, read before the rows.
        whole: the inputs of which any row may matter.
    """

    org: OrgContext
    day: date
    rows: Mapping[str, LedgerRow]
    writes: InputWrites
    whole: Collection[str]

    def stand(self, outcome: JobOutcome) -> bool:
        """Whether a job that has ended read these inputs, and they are the present ones."""
        now = _look(self.org, self.rows, [self.day], self.whole)
        return _stand(self.writes, now, outcome)


@dataclass(frozen=True, slots=True)
class DaysInputs:
    """The inputs of days that can be computed, and why others can't.

    Attributes:
        days: inputs by day.
        not_observable: days of which the provider says nothing and no content was published.
        error: of the other days; raise it when these are done.
    """

    days: Mapping[date, DayInputs]
    not_observable: tuple[date, ...] = ()
    error: InputNotAsRecordedError | None = None


@dataclass(frozen=True)
class Inputs:
    """The tables of an org's dataset that a derived table is computed from.

    Attributes:
        org: whose tables; its pipeline's slices are meant.
        daily: tables that the ledger describes day by day.
        whole: tables of which any row may matter.
    """

    org: OrgContext
    daily: Collection[str]
    whole: Collection[str] = ()

    def read(self, days: Sequence[date]) -> DaysInputs:
        """The inputs of the days whose partitions are what the ledger says.

        A row that is missing since its process died is written from its job. Where that can't
        be done, the input's slice is invalidated: the day is due, and the next run of its
        pipeline extracts it again.
        """
        writes, rows = self._read(days)
        if not self._not_as_recorded(days, writes, rows):
            return DaysInputs(self._of_days(days, writes, rows))
        unknown = self._not_observable(days, rows)
        known = [day for day in days if day not in unknown]
        for key in self._not_as_recorded(known, writes, rows):
            self._recover(key, writes, rows)
        writes, rows = self._read(known)
        if self._not_as_recorded(known, writes, rows):
            self.org.warehouse.timeouts.sleep(_ROW_DELAY)
            writes, rows = self._read(known)
        wrong = self._not_as_recorded(known, writes, rows)
        right = sorted(set(known) - {key.day for key in wrong})
        return DaysInputs(
            self._of_days(right, writes, rows),
            not_observable=tuple(sorted(unknown)),
            error=self._refusal(wrong, rows) if wrong else None,
        )

    def _not_observable(
        self, days: Sequence[date], rows: Mapping[SliceKey, LedgerRow]
    ) -> set[date]:
        """Days on which an input has no content, and the provider says nothing any more."""
        ends = self.org.ledger.read_ends(
            {Action.NOT_OBSERVABLE},
            orgs=[self.org.org_slug],
            pipeline_id=self.org.pipeline.pipeline_id,
            since=min(days),
        )
        keys = {self._key(table, day) for table in self.daily for day in days}
        return {key.day for key in keys if key in ends and key not in rows}

    def _of_days(
        self, days: Sequence[date], writes: InputWrites, rows: Mapping[SliceKey, LedgerRow]
    ) -> dict[date, DayInputs]:
        return {day: self._of_day(day, writes, rows) for day in days}

    def _of_day(
        self, day: date, writes: InputWrites, rows: Mapping[SliceKey, LedgerRow]
    ) -> DayInputs:
        of_table = {table: rows[self._key(table, day)] for table in sorted(self.daily)}
        return DayInputs(self.org, day, of_table, writes.for_day(day), self.whole)

    def read_whole(self) -> TableInputs:
        """The inputs of a table that is computed as a whole."""
        return TableInputs(self.org, _look(self.org, (), (), self.whole), self.whole)

    def _read(self, days: Sequence[date]) -> tuple[InputWrites, dict[SliceKey, LedgerRow]]:
        """The writes first: what is written after them is seen when the job has ended."""
        writes = _look(self.org, self.daily, days, self.whole)
        if not self.daily or not days:
            return writes, {}
        rows = self.org.ledger.read_latest(
            orgs=[self.org.org_slug], pipeline_id=self.org.pipeline.pipeline_id, since=min(days)
        )
        return writes, rows

    def _not_as_recorded(
        self, days: Sequence[date], writes: InputWrites, rows: Mapping[SliceKey, LedgerRow]
    ) -> list[SliceKey]:
        keys = [self._key(table, day) for table in sorted(self.daily) for day in days]
        return [key for key in keys if not _is_as_recorded(rows.get(key), key, writes)]

    def _recover(
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

    def _refusal(
        self, wrong: Sequence[SliceKey], rows: Mapping[SliceKey, LedgerRow]
    ) -> InputNotAsRecordedError:
        self.org.ledger.invalidate_rows(
            [rows[key] for key in wrong if key in rows],
            run_id=self.org.run_id,
            now=self.org.now(),
        )
        return InputNotAsRecordedError(
            "Days of an input are missing or not as the ledger says; extract them again",
            tables=sorted({key.table for key in wrong}),
            days=sorted({key.day.isoformat() for key in wrong}),
        )

    def end_not_observable(self, days: Collection[date], attempts: Mapping[date, Attempt]) -> None:
        """Record that derived days have no content since their inputs have none."""
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

    def _key(self, table: str, day: date) -> SliceKey:
        return SliceKey(self.org.org_slug, self.org.pipeline.pipeline_id, table, day)


def _look(
    org: OrgContext, daily: Collection[str], days: Sequence[date], whole: Collection[str]
) -> InputWrites:
    return input_writes(org.warehouse, org.dataset, daily=daily, days=days, whole=whole)


def _stand(before: InputWrites, now: InputWrites, outcome: JobOutcome) -> bool:
    if now != before:
        return False
    # A job that an earlier try started may have read what was there before.
    return not outcome.reused or all(
        write.modified_at < outcome.started_at for write in now.list_writes()
    )


def _is_as_recorded(row: LedgerRow | None, key: SliceKey, writes: InputWrites) -> bool:
    if row is None or not row.is_valid:
        return False
    write = writes.daily.get((key.table, key.day))
    return is_intact(write, rows=row.row_count, written_by=row.job_ended_at)
