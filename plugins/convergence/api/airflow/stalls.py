"""Notice that Airflow begins no task, and report it to the platform's recipients once.

Airflow calls itself healthy while all slots of its executor are occupied by tasks that died
(`executors.slot_watch`), while no worker runs, and while the broker is away. This watch looks at
the tasks: some wait, and none began for `PLATFORM_STALL_SECONDS`. It runs in the API processes,
since a task could not report that no task begins.
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
"""A task that waits for a moment after a long one ended is no stall: it is looked at twice."""
_KEPT_SECONDS = 20.0
_EVENT = "no_task_began"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Stall:
    """No task begins.

    Attributes:
        last_start: when the last task began, UTC; it identifies the incident in every process.
        unhealthy: components that Airflow itself reports as unhealthy.
    """

    last_start: datetime | None
    unhealthy: tuple[str, ...] = ()

    @property
    def incident(self) -> str:
        """The same for all processes and looks while no task begins."""
        began = self.last_start.isoformat(timespec="seconds") if self.last_start else "never"
        return f"~{_EVENT}/{began}"


class StallWatch:
    """Looks at Airflow's tasks at most every 20 s; between looks the last result counts."""

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
        self._looked: float | None = None
        self._suspected: float | None = None
        self._last_start: datetime | None = None
        self._found: Stall | None = None

    async def look(self) -> Stall | None:
        """Return the present stall; None while tasks begin or nothing waits.

        Raises:
            OrchestratorUnavailableError: Airflow does not respond.
        """
        async with self._lock:
            if self._looked is None or self._clock() - self._looked >= _KEPT_SECONDS:
                self._found = await self._examine()
                self._looked = self._clock()
            return self._found

    async def _examine(self) -> Stall | None:
        sick = await self._airflow.unhealthy()
        confirm = self._after.total_seconds() if sick else CONFIRM_SECONDS
        if not sick and not await self._none_begins():
            self._suspected = None
            return None
        if self._suspected is None:
            self._suspected = self._clock()
        if self._clock() - self._suspected < confirm:
            return None
        return Stall(self._last_start, tuple(sick))

    async def _none_begins(self) -> bool:
        before = self._now() - self._after
        if not await self._airflow.has_waiting_task(of_runs_before=before):
            return False
        self._last_start = await self._airflow.last_task_start(before=self._now())
        return self._last_start is None or self._last_start < before


def message(stall: Stall, *, seconds: float) -> Message:
    """Say what is wrong, and where the operator reads what to do."""
    from convergence.processors.notify_systems.messages import Message

    since = f"{stall.last_start:%Y-%m-%d %H:%M:%S} UTC" if stall.last_start else "the start"
    why = (
        f"Airflow reports as unhealthy: {', '.join(stall.unhealthy)}."
        if stall.unhealthy
        else "Airflow reports itself healthy."
    )
    text = (
        f"No task began since {since}, although tasks wait. No organization's run goes on. {why}\n"
        "What to do: docs/operations.md, 'No task begins'.\n"
        f"This message is sent once; the check is 'tasks' in /health/ready ({seconds:.0f} s)."
    )
    return Message(text=text, subject="Convergence: no task begins")


def report(stall: Stall, notifier: Notifier, *, seconds: float) -> None:
    """Send the stall to the platform's recipients of each channel; one message per incident."""
    from convergence.processors.notify_systems.channels import CHANNELS, recipients_for
    from convergence.processors.notify_systems.reports import PLATFORM
    from convergence.state.notifications import NotificationKey

    log.error("no task began since %s, although tasks wait", stall.last_start)
    notice = message(stall, seconds=seconds)
    for channel in CHANNELS:
        to = recipients_for(notifier.channel(channel), "platform", PLATFORM)
        if to:
            notifier.send(NotificationKey(stall.incident, PLATFORM, channel, _EVENT), notice, to=to)


async def refuse_stall(watch: StallWatch) -> None:
    """Fail the readiness check while no task begins.

    Raises:
        NoTaskStartedError: tasks wait and none begins.
        OrchestratorUnavailableError: Airflow does not respond.
    """
    if (stall := await watch.look()) is not None:
        raise NoTaskStartedError(
            "Tasks wait and none begins.",
            last_start=stall.last_start.isoformat() if stall.last_start else None,
        )
