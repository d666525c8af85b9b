"""A tie between two tables that is not met: an error in the figures, or newer input meanwhile.

Two runs of one day may overlap: one publishes newer usage before the other checks the cost that it
computed from the older. Then the tables do not tie until the newer run has computed its cost, and
neither run's figures are wrong. So a tie that is not met counts only while the tables hold what the
ledger says and each derived slice is made from the present input.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Final

from convergence.errors import RetryableError, SupersededError
from convergence.processors.context import OrgContext
from convergence.processors.lib.daily.overtaken import MARGIN_SECONDS
from convergence.processors.quality.judge import Verdict
from convergence.processors.quality.measure import Inspector
from convergence.processors.quality.suite import SumsTie
from convergence.runs.ledger import LedgerRow
from convergence.runs.slices import SliceKey
from convergence.state import org_runs
from convergence.warehouse.partitions.publish import is_intact
from convergence.warehouse.partitions.writers import InputWrites, input_writes

MAX_ROUNDS: Final = 3
"""Maximum times that a tie is measured again because a table changed meanwhile."""
POLL_SECONDS = 10.0
"""Between two looks at a day that another run is publishing; each look is four queries."""


def confirm_ties(
    org: OrgContext, inspector: Inspector, verdicts: Sequence[Verdict]
) -> list[Verdict]:
    """Measure ties that were not met again, and invalidate the slices behind those that remain.

    Args:
        org: whose tables.
        inspector: measures them.
        verdicts: of every expectation.

    Returns:
        The verdicts, those of ties as they are once nothing changes any more.

    Raises:
        SupersededError: of a tie that stops the run, where a slice's input is newer than the
            slice and no other run works on it, or the step's time is over while one does. Such a
            day is due: where the newer run died, the next one computes the slice again.
        RetryableError: the task is being stopped.
    """
    confirmed = list(verdicts)
    for tie in inspector.suite.expectations:
        if not isinstance(tie, SumsTie):
            continue
        days = [one.day for one in verdicts if one.expectation == tie.id and not one.passed]
        if not days:
            continue
        try:
            again = {one.day: one for one in _Tie(org, inspector, tie).measure(days)}
        except SupersededError as error:
            if tie.severity == "stop":
                raise
            org.log.info("%s", error)
            again = {}
        confirmed = [
            again.get(one.day, one) if one.expectation == tie.id else one for one in confirmed
        ]
    return confirmed


@dataclass(frozen=True, slots=True)
class _State:
    """State of a tie's tables on some days, in the ledger and the warehouse."""

    rows: dict[SliceKey, LedgerRow]
    writes: InputWrites


@dataclass(frozen=True)
class _Tie:
    org: OrgContext
    inspector: Inspector
    tie: SumsTie

    def measure(self, days: Sequence[date]) -> list[Verdict]:
        """Return the days' verdicts, measured while nothing changed.

        Where another run has published newer input, its derived slice is waited for.
        """
        while True:
            # Before the look at the tables: a run that has ended has published before.
            working = self._is_another_run_working(days)
            try:
                return self._measure_unchanged(days)
            except SupersededError as error:
                if not working and not self._is_another_run_working(days):
                    raise
                self._pause(error)

    def _measure_unchanged(self, days: Sequence[date]) -> list[Verdict]:
        state = self._state(days)
        for _ in range(MAX_ROUNDS):
            self._stop_if_superseded(state)
            verdicts = self.inspector.measure(self.tie, days)
            before, state = state, self._state(days)
            if state == before or all(one.passed for one in verdicts):
                self._invalidate(state, [one.day for one in verdicts if not one.passed])
                return verdicts
        raise self._superseded(days)

    def _is_another_run_working(self, days: Sequence[date]) -> bool:
        """Return whether another active run publishes, or published, a table of these days."""
        org = self.org
        rows = org.ledger.read_latest(
            orgs=[org.org_slug], pipeline_id=org.pipeline.pipeline_id, since=min(days)
        )
        keys = [key for key in rows if key.day in set(days)]
        if any(self._is_live(run_id) for run_id in {rows[key].run_id for key in keys}):
            return True
        now = datetime.now(UTC)
        attempts = org.publisher.read_newest_attempts(keys).values()
        return any(one.is_alive(now) and one.run_id != org.run_id for one in attempts)

    def _is_live(self, run_id: str) -> bool:
        if run_id == self.org.run_id:
            return False
        with self.org.store.read() as conn:
            run = org_runs.get_run(conn, run_id)
        return run is not None and run.is_live

    def _pause(self, error: SupersededError) -> None:
        remaining = self.org.deadline - MARGIN_SECONDS - time.monotonic()
        if remaining <= 0:
            raise error
        self.org.log.info("%s", error)
        if self.org.stop.wait(min(POLL_SECONDS, remaining)):
            raise RetryableError("The task was stopped", **error.details)

    def _state(self, days: Sequence[date]) -> _State:
        """Read the writes first: the next look sees later writes."""
        tables = {self.tie.left.table, self.tie.right.table}
        writes = input_writes(
            self.org.warehouse, self.inspector.dataset, daily=tables, days=days, whole=()
        )
        latest = self.org.ledger.read_latest(
            orgs=[self.org.org_slug], pipeline_id=self.org.pipeline.pipeline_id, since=min(days)
        )
        return _State({key: row for key, row in latest.items() if key.day in set(days)}, writes)

    def _stop_if_superseded(self, state: _State) -> None:
        """Raise where an input is being published, or is newer than the slice made from it.

        A derived slice that something else wrote, from inputs that stand, is an error in the
        figures: nothing newer explains it.
        """
        superseded = {
            row.key.day
            for row in self._of_tie(state)
            if not _is_current(row, state) or not (row.inputs or _is_as_recorded(row, state.writes))
        }
        if superseded:
            raise self._superseded(sorted(superseded))

    def _of_tie(self, state: _State) -> list[LedgerRow]:
        tables = {self.tie.left.table, self.tie.right.table}
        return [row for key, row in state.rows.items() if key.table in tables]

    def _invalidate(self, state: _State, days: Sequence[date]) -> None:
        """Invalidate the slices that do not tie, so that they are computed again."""
        derived = [row for row in self._of_tie(state) if row.key.day in days and row.inputs]
        self.org.ledger.invalidate_rows(derived, run_id=self.org.run_id, now=self.org.now())

    def _superseded(self, days: Sequence[date]) -> SupersededError:
        return SupersededError(
            "Another run has published newer input; check again when its derived day is published",
            expectation=self.tie.id,
            days=[day.isoformat() for day in days],
        )


def _is_current(row: LedgerRow, state: _State) -> bool:
    """Return whether a slice was computed from the current inputs, by the ledger."""
    made_from = {
        SliceKey(row.key.org_slug, row.key.pipeline_id, one.table, row.key.day): one.content_hash
        for one in row.inputs
    }
    return all(
        content == state.rows[key].content_hash
        for key, content in made_from.items()
        if key in state.rows
    )


def _is_as_recorded(row: LedgerRow, writes: InputWrites) -> bool:
    write = writes.daily.get((row.key.table, row.key.day))
    return is_intact(write, rows=row.row_count, written_by=row.job_ended_at)
