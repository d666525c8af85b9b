"""Leave a day to a newer attempt only once that attempt has ended it.

A newer attempt may be slow, frozen or dead. While its heartbeat is alive, its ledger row is waited
for; without a heartbeat and without a row, the day is made again.
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
"""Between two looks at the newer attempt's heartbeat."""
LEDGER_SECONDS = 30.0
"""Between two looks at the ledger, each a query, while the newer attempt works."""
MARGIN_SECONDS: Final = 10.0
"""Waiting ends so long before the step's timeout does: in time to say why."""


@dataclass(frozen=True, slots=True)
class Overtaken:
    """A day that a newer attempt took over.

    Attributes:
        number: of the attempt that was overtaken; a row with a higher one ends the day.
        published: whether the overtaken attempt's content may be in the partition.
    """

    number: int
    published: bool = False


@dataclass(frozen=True, slots=True)
class Left:
    """What became of overtaken days.

    Attributes:
        superseded: days that the newer attempt ended, with the row to record.
        again: days to make again: the newer attempt died, or its content is not in the partition.
    """

    superseded: dict[date, SliceEnd]
    again: list[date]


def taken_over(org: OrgContext, days: Mapping[date, SliceKey]) -> dict[date, Overtaken]:
    """The days that another run's newer attempt works on, where this try continues another.

    A retry takes no number for them: it would only overtake the one that makes them.
    """
    if not org.resumes:
        return {}
    newest, now = org.publisher.read_newest_attempts(list(days.values())), datetime.now(UTC)
    found = {day: newest[key] for day, key in days.items() if key in newest}
    return {
        day: Overtaken(attempt.number - 1)
        for day, attempt in found.items()
        if attempt.is_alive(now)
        and attempt.run_id != org.run_id
        and (org.began_at is None or attempt.taken_at is None or attempt.taken_at >= org.began_at)
    }


class Leaving:
    """Waits for the newer attempts at overtaken days of one table."""

    def __init__(self, org: OrgContext, keys: Mapping[date, SliceKey]) -> None:
        self._org = org
        self._keys = keys

    def settle(self, days: Mapping[date, Overtaken]) -> Left:
        """Wait until each day is ended or is to be made again.

        Raises:
            SupersededError: a newer try of this very run works on a day, or the step's time is
                over while another run does. Both are worth another try.
            RetryableError: the task is being stopped.
        """
        left, waiting, read_at = Left({}, []), dict(days), float("-inf")
        while waiting:
            alive = self._alive(waiting)
            self._stop_for_own_run(waiting, alive)
            now = time.monotonic()
            if len(alive) < len(waiting) or now - read_at >= LEDGER_SECONDS:
                # After the heartbeats: an attempt writes its row before its heartbeat ends.
                self._look(waiting, alive, left)
                read_at = now
            if waiting:
                self._pause(waiting)
        return left

    def _alive(self, waiting: Mapping[date, Overtaken]) -> dict[date, NewestAttempt]:
        newest = self._org.publisher.read_newest_attempts([self._keys[day] for day in waiting])
        now = datetime.now(UTC)
        found = {day: newest.get(self._keys[day]) for day in waiting}
        return {day: one for day, one in found.items() if one is not None and one.is_alive(now)}

    def _look(
        self, waiting: dict[date, Overtaken], alive: Mapping[date, NewestAttempt], left: Left
    ) -> None:
        """Take the days out of `waiting` that need no more of it."""
        ends, contents = self._ends(waiting), self._contents(waiting)
        for day, overtaken in list(waiting.items()):
            end = ends.get(day)
            if end is not None and end.attempt > overtaken.number:
                if self._stands(contents.get(day)):
                    left.superseded[day] = self._superseded(day, overtaken, end)
                else:
                    left.again.append(day)
            elif day not in alive:
                left.again.append(day)
            else:
                continue
            del waiting[day]

    def _ends(self, days: Mapping[date, Overtaken]) -> dict[date, SliceEnd]:
        org = self._org
        found = org.ledger.read_ends(
            ENDING,
            orgs=[org.org_slug],
            pipeline_id=org.pipeline.pipeline_id,
            since=min(days),
        )
        return {day: found[self._keys[day]] for day in days if self._keys[day] in found}

    def _contents(self, days: Mapping[date, Overtaken]) -> dict[date, LedgerRow]:
        org = self._org
        found = org.ledger.read_latest(
            orgs=[org.org_slug], pipeline_id=org.pipeline.pipeline_id, since=min(days)
        )
        return {day: found[self._keys[day]] for day in days if self._keys[day] in found}

    def _stands(self, row: LedgerRow | None) -> bool:
        """Whether the partition holds what the newest row says, and not this attempt's content."""
        if row is None:
            return False
        table = TableName(self._org.dataset, row.key.table)
        return self._org.publisher.is_as_recorded(row, table)

    def _superseded(self, day: date, overtaken: Overtaken, end: SliceEnd) -> SliceEnd:
        return SliceEnd(
            key=self._keys[day],
            action=Action.SUPERSEDED,
            attempt=overtaken.number,
            run_id=self._org.run_id,
            finality=end.finality,
            checked_at=self._org.now(),
        )

    def _stop_for_own_run(
        self, waiting: Mapping[date, Overtaken], alive: Mapping[date, NewestAttempt]
    ) -> None:
        mine = [
            str(day)
            for day, attempt in alive.items()
            if attempt.run_id == self._org.run_id and not waiting[day].published
        ]
        if mine:
            raise SupersededError("A newer try of this run works on the same days", days=mine)

    def _pause(self, waiting: Mapping[date, Overtaken]) -> None:
        days = [str(day) for day in sorted(waiting)]
        remaining = self._org.deadline - MARGIN_SECONDS - time.monotonic()
        if remaining <= 0:
            raise SupersededError(
                "A newer attempt was still working when this step's time was over", days=days
            )
        if self._org.stop.wait(min(POLL_SECONDS, remaining)):
            raise RetryableError("The task was stopped", days=days)
