"""The stall watch: detect that Airflow begins no task, and notify the platform's recipients.

Airflow reports itself healthy while dead tasks occupy all slots of its executor
(`executors.slot_watch`), while no worker runs, and while the broker is down. The watch checks the
tasks instead: some wait, and none began for `PLATFORM_STALL_SECONDS`. It runs in the API
processes, since no task can report that no task begins.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from convergence.api.airflow.client import AirflowClient
from convergence.errors import NoTaskStartedError

if TYPE_CHECKING:
    from convergence.processors.notify_systems.messages import Message
    from convergence.processors.notify_systems.notifier import Notifier

CONFIRM_SECONDS = 45.0
"""A task may wait for a moment after a long one ended: a stall must last this long."""
_CACHE_SECONDS = 20.0
_EVENT = "no_task_began"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Stall:
    """A period in which no task begins.

    Attributes:
        last_start: when the last task began, UTC; identifies the incident in every process.
        unhealthy: components that Airflow itself reports as unhealthy.
    """

    last_start: datetime | None
    unhealthy: tuple[str, ...] = ()

    @property
    def incident(self) -> str:
        """Id of the incident, the same in all processes until a task begins."""
        began = self.last_start.isoformat(timespec="seconds") if self.last_start else "never"
        return f"~{_EVENT}/{began}"


class StallWatch:
    """Checks Airflow's tasks at most every 20 s; in between it returns the last result."""

    def __init__(
        self,
        airflow: AirflowClient,
        *,
        after: timedelta,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._airflow = airflow
        self._after = after
        self._now = now
        self._clock = clock
        self._lock = asyncio.Lock()
        self._checked_at: float | None = None
        self._suspected_at: float | None = None
        self._last_start: datetime | None = None
        self._found: Stall | None = None

    async def find_stall(self) -> Stall | None:
        """Return the present stall, None while tasks begin or no task waits.

        Raises:
            OrchestratorUnavailableError: Airflow does not respond.
        """
        async with self._lock:
            if self._checked_at is None or self._clock() - self._checked_at >= _CACHE_SECONDS:
                self._found = await self._check_tasks()
                self._checked_at = self._clock()
            return self._found

    async def _check_tasks(self) -> Stall | None:
        unhealthy = await self._airflow.list_unhealthy()
        confirm = self._after.total_seconds() if unhealthy else CONFIRM_SECONDS
        if not unhealthy and not await self._begins_no_task():
            self._suspected_at = None
            return None
        if self._suspected_at is None:
            self._suspected_at = self._clock()
        if self._clock() - self._suspected_at < confirm:
            return None
        return Stall(self._last_start, tuple(unhealthy))

    async def _begins_no_task(self) -> bool:
        before = self._now() - self._after
        if not await self._airflow.has_waiting_task(of_runs_before=before):
            return False
        self._last_start = await self._airflow.get_last_task_start(before=self._now())
        return self._last_start is None or self._last_start < before


def build_stall_message(stall: Stall, *, seconds: float) -> Message:
    """Build the message: what is wrong, and where the operator finds the remedy."""
    from convergence.processors.notify_systems.messages import Message

    since = f"{stall.last_start:%Y-%m-%d %H:%M:%S} UTC" if stall.last_start else "the start"
    health = (
        f"Airflow reports as unhealthy: {', '.join(stall.unhealthy)}."
        if stall.unhealthy
        else "Airflow reports itself healthy."
    )
    text = (
        f"No task began since {since}, although tasks wait. "
        f"Runs of all organizations have stopped. {health}\n"
        "What to do: docs/operations.md, 'No task begins'.\n"
        f"This message is sent once; the check is 'tasks' in /health/ready ({seconds:.0f} s)."
    )
    return Message(text=text, subject="Convergence: no task begins")


def report_stall(stall: Stall, notifier: Notifier, *, seconds: float) -> None:
    """Send the stall to the platform's recipients of each channel; one message per incident."""
    from convergence.processors.notify_systems.channels import CHANNELS, recipients_for
    from convergence.processors.notify_systems.reports import PLATFORM
    from convergence.state.notifications import NotificationKey

    log.error("no task began since %s, although tasks wait", stall.last_start)
    notice = build_stall_message(stall, seconds=seconds)
    for channel in CHANNELS:
        to = recipients_for(notifier.channel(channel), "platform", PLATFORM)
        if to:
            notifier.send(NotificationKey(stall.incident, PLATFORM, channel, _EVENT), notice, to=to)


async def check_stall(watch: StallWatch) -> None:
    """Fail the readiness check while no task begins.

    Raises:
        NoTaskStartedError: tasks wait and none begins.
        OrchestratorUnavailableError: Airflow does not respond.
    """
    if (stall := await watch.find_stall()) is not None:
        raise NoTaskStartedError(
            "Tasks wait and none begins.",
            last_start=stall.last_start.isoformat() if stall.last_start else None,
        )
