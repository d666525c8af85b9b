"""Wait until the newer attempts at overtaken days have ended these days.

A newer attempt may be slow, frozen or dead. While its heartbeat is alive, this module waits for its
ledger row. Without a heartbeat and without a row, the day is made again.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Final

from convergence.errors import RetryableError, SupersededError
from convergence.processors.context import OrgContext
from convergence.runs.ledger import LedgerRow, SliceEnd
from convergence.runs.slice_states import ENDING, Action
from convergence.runs.slices import SliceKey
from convergence.state.attempts import NewestAttempt
from convergence.warehouse.names import TableName

POLL_SECONDS = 2.0
"""Seconds between two checks of the newer attempt's heartbeat."""
LEDGER_SECONDS = 30.0
"""Seconds between two queries of the ledger while the newer attempt works."""
MARGIN_SECONDS: Final = 10.0
"""Seconds before the step's timeout at which waiting ends, so that the step can report why."""


@dataclass(frozen=True, slots=True)
class OvertakenDay:
    """A day that a newer attempt took over.

    Attributes:
        number: number of the overtaken attempt; a row with a higher number ends the day.
        published: whether the overtaken attempt's content may be in the partition.
    """

    number: int
    published: bool = False


@dataclass(frozen=True, slots=True)
class SettledDays:
    """Results of overtaken days.

    Attributes:
        superseded: days that the newer attempt ended, with the row to record.
        again: days to make again: the newer attempt died, or its content is not in the partition.
    """

    superseded: dict[date, SliceEnd]
    again: list[date]


def find_taken_over(org: OrgContext, days: Mapping[date, SliceKey]) -> dict[date, OvertakenDay]:
    """Find the days of a retry that another run's newer attempt works on.

    A retry takes no number for these days: it would only overtake the attempt that makes them.
    """
    if not org.resumes:
        return {}
    newest, now = org.publisher.read_newest_attempts(list(days.values())), datetime.now(UTC)
    found = {day: newest[key] for day, key in days.items() if key in newest}
    return {
        day: OvertakenDay(attempt.number - 1)
        for day, attempt in found.items()
        if attempt.is_alive(now)
        and attempt.run_id != org.run_id
        and (org.began_at is None or attempt.taken_at is None or attempt.taken_at >= org.began_at)
    }


class NewerAttempts:
    """The newer attempts at overtaken days of one table."""

    def __init__(self, org: OrgContext, keys: Mapping[date, SliceKey]) -> None:
        self._org = org
        self._keys = keys

    def wait_until_settled(self, days: Mapping[date, OvertakenDay]) -> SettledDays:
        """Wait until each day is ended or must be made again.

        Raises:
            SupersededError: a newer try of this same run works on a day, or another run still
                works on a day at the end of the step's time. Both are retryable.
            RetryableError: the task is being stopped.
        """
        settled, waiting, read_at = SettledDays({}, []), dict(days), float("-inf")
        while waiting:
            alive = self._find_alive(waiting)
            self._raise_for_same_run(waiting, alive)
            now = time.monotonic()
            if len(alive) < len(waiting) or now - read_at >= LEDGER_SECONDS:
                # Read the ledger after the heartbeats: an attempt writes its row before its
                # heartbeat ends, so a missing heartbeat without a row means a dead attempt.
                self._settle_ended(waiting, alive, settled)
                read_at = now
            if waiting:
                self._pause(waiting)
        return settled

    def _find_alive(self, waiting: Mapping[date, OvertakenDay]) -> dict[date, NewestAttempt]:
        newest = self._org.publisher.read_newest_attempts([self._keys[day] for day in waiting])
        now = datetime.now(UTC)
        found = {day: newest.get(self._keys[day]) for day in waiting}
        return {day: one for day, one in found.items() if one is not None and one.is_alive(now)}

    def _settle_ended(
        self,
        waiting: dict[date, OvertakenDay],
        alive: Mapping[date, NewestAttempt],
        settled: SettledDays,
    ) -> None:
        """Move the days that need no more waiting from `waiting` to `settled`."""
        ends, contents = self._list_ends(waiting), self._list_contents(waiting)
        for day, overtaken in list(waiting.items()):
            end = ends.get(day)
            if end is not None and end.attempt > overtaken.number:
                if self._is_published(contents.get(day)):
                    settled.superseded[day] = self._build_superseded(day, overtaken, end)
                else:
                    settled.again.append(day)
            elif day not in alive:
                settled.again.append(day)
            else:
                continue
            del waiting[day]

    def _list_ends(self, days: Mapping[date, OvertakenDay]) -> dict[date, SliceEnd]:
        org = self._org
        found = org.ledger.read_ends(
            ENDING,
            orgs=[org.org_slug],
            pipeline_id=org.pipeline.pipeline_id,
            since=min(days),
        )
        return {day: found[self._keys[day]] for day in days if self._keys[day] in found}

    def _list_contents(self, days: Mapping[date, OvertakenDay]) -> dict[date, LedgerRow]:
        org = self._org
        found = org.ledger.read_latest(
            orgs=[org.org_slug], pipeline_id=org.pipeline.pipeline_id, since=min(days)
        )
        return {day: found[self._keys[day]] for day in days if self._keys[day] in found}

    def _is_published(self, row: LedgerRow | None) -> bool:
        """Return whether the partition holds the content of the newest row, not of this attempt."""
        if row is None:
            return False
        table = TableName(self._org.dataset, row.key.table)
        return self._org.publisher.is_as_recorded(row, table)

    def _build_superseded(self, day: date, overtaken: OvertakenDay, end: SliceEnd) -> SliceEnd:
        return SliceEnd(
            key=self._keys[day],
            action=Action.SUPERSEDED,
            attempt=overtaken.number,
            run_id=self._org.run_id,
            finality=end.finality,
            checked_at=self._org.now(),
        )

    def _raise_for_same_run(
        self, waiting: Mapping[date, OvertakenDay], alive: Mapping[date, NewestAttempt]
    ) -> None:
        days_of_run = [
            str(day)
            for day, attempt in alive.items()
            if attempt.run_id == self._org.run_id and not waiting[day].published
        ]
        if days_of_run:
            raise SupersededError(
                "A newer try of this run works on the same days", days=days_of_run
            )

    def _pause(self, waiting: Mapping[date, OvertakenDay]) -> None:
        days = [str(day) for day in sorted(waiting)]
        remaining = self._org.deadline - MARGIN_SECONDS - time.monotonic()
        if remaining <= 0:
            raise SupersededError(
                "A newer attempt was still working at the end of this step's time", days=days
            )
        if self._org.stop.wait(min(POLL_SECONDS, remaining)):
            raise RetryableError("The task was stopped", days=days)
