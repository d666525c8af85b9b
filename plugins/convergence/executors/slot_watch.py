"""Decide which of an executor's slots belong to tasks that no longer need them.

An executor counts a slot from the moment it sends a task until it hears of the task's end. A
worker that is killed never reports an end, so its slots stay occupied: those of running tasks
until their heartbeat times out, those of ended tasks until the scheduler restarts
(apache/airflow#36335, #43448), and those of messages that a dead worker had taken until
`[scheduler] task_queued_timeout`. The decision needs Airflow's database, the broker and the
workers; this module is the decision alone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)

ENDED_GRACE = timedelta(seconds=10)
"""Time after a task's end in which its worker may still report it: the supervisor sleeps up to
`[workers] min_heartbeat_interval` and the result travels through Celery's database."""

SILENT_AFTER = timedelta(seconds=10)
"""A queued task that is not taken, or a running task that sends no heartbeat, for this long is
looked for in the broker and on the workers."""

_LIVE = frozenset({"queued", "running", "restarting"})


@dataclass(frozen=True, slots=True)
class TaskRow:
    """A task instance in Airflow's database.

    Attributes:
        try_number: of its newest try.
        state: Airflow's; None before it is scheduled.
        message_id: id of the message in the broker, which is Celery's task id.
        queued_at: when it was sent, UTC.
        heartbeat_at: when its worker last reported, UTC.
    """

    try_number: int
    state: str | None
    message_id: str | None = None
    queued_at: datetime | None = None
    heartbeat_at: datetime | None = None


@dataclass(slots=True)
class Findings(Generic[Key]):
    """Slots to give back.

    Attributes:
        ended: tasks that ended, or went on to another try, without the executor's knowledge.
        lost: queued tasks whose message neither the broker nor a live worker has.
        dead: running tasks without a heartbeat that no live worker runs.
    """

    ended: list[Key] = field(default_factory=list)
    lost: list[Key] = field(default_factory=list)
    dead: list[Key] = field(default_factory=list)


FindMessages = Callable[[Collection[str]], set[str] | None]
"""Return those of the message ids that the broker or a live worker has; None when unknown."""


class SlotWatch(Generic[Key]):
    """Compares slots with tasks; remembers since when a task has looked ended."""

    def __init__(self, find_messages: FindMessages) -> None:
        self._find_messages = find_messages
        self._ended_since: dict[Key, datetime] = {}

    def check(
        self, tries: Mapping[Key, int], rows: Mapping[Key, TaskRow], *, now: datetime
    ) -> Findings[Key]:
        """Compare the executor's slots with the database.

        Args:
            tries: the executor's running tasks and the try that each slot is for.
            rows: the same tasks in the database; a missing one was deleted.
            now: the present, UTC.
        """
        findings: Findings[Key] = Findings()
        over = {key for key, number in tries.items() if not _is_live(rows.get(key), number)}
        self._ended_since = {key: self._ended_since.get(key, now) for key in over}
        findings.ended = [
            key for key, since in self._ended_since.items() if now - since >= ENDED_GRACE
        ]
        silent = {
            row.message_id: key
            for key in tries
            if key not in over and (row := rows[key]).message_id and _is_silent(row, now)
        }
        found = self._find_messages([str(each) for each in silent]) if silent else set()
        if found is None:
            return findings
        for message_id, key in silent.items():
            if message_id not in found:
                side = findings.lost if rows[key].state == "queued" else findings.dead
                side.append(key)
        return findings


def _is_live(row: TaskRow | None, try_number: int) -> bool:
    return row is not None and row.try_number == try_number and row.state in _LIVE


def _is_silent(row: TaskRow, now: datetime) -> bool:
    last = row.queued_at if row.state == "queued" else row.heartbeat_at
    return last is not None and now - last >= SILENT_AFTER
