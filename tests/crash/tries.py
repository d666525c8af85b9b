"""A try under way: its process, the fault that strikes it, and when it goes on."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from crash.processes import Child, Message
from crash.scenario import WAREHOUSE_ACTIONS, Action, Fault
from crash.task import HEARTBEAT_LIMIT, Try

LONGEST_STOP = 60.0
"""Seconds after which a frozen process goes on whatever it waits for."""
LONGEST_PAUSE = 1.5 * HEARTBEAT_LIMIT
"""The same for one that counts as living: its run has retries enough to outlast that."""
LONGEST_ZOMBIE = 60.0


@dataclass
class Trying:
    """One try of one step.

    Attributes:
        usual: seconds that such a step takes, from the fork to the end.
        struck: whether its fault has struck.
        passed: points that it passed, and how often.
        taken: attempts that it took, by slice.
        woken_at: when it was continued after a stop.
        successor: whether, and since when, another try of its step runs.
        killed: whether it was killed after waking.
    """

    job: Try
    child: Child
    usual: float
    began: float = field(default_factory=time.monotonic)
    struck: bool = False
    struck_at: float = 0.0
    passed: Counter[str] = field(default_factory=Counter)
    taken: dict[str, int] = field(default_factory=dict)
    ended: str = ""
    why: str = ""
    woken_at: float | None = None
    sent_after_waking: bool = False
    successor: Trying | None = None
    killed: bool = False
    _read: int = 0

    @property
    def fault(self) -> Fault | None:
        """What strikes it."""
        return self.job.fault

    @property
    def over(self) -> bool:
        """Whether the process has ended."""
        return self.child.status is not None

    @property
    def succeeded(self) -> bool:
        """Whether it ended well, and not by a fault."""
        return self.child.status == 0 and self.ended == "success"

    @property
    def stopped_by(self) -> Action | None:
        """The fault that holds the process stopped now."""
        if self.child.stopped and self.struck and self.fault is not None:
            return self.fault.action
        return None

    def tick(self) -> list[Message]:
        """Look once at the process; the messages that are new."""
        self.child.poll()
        new = self.child.messages[self._read :]
        self._read += len(new)
        for message in new:
            self._note(message)
        if not self.over:
            self._strike_in_time()
        return new

    def wake(self) -> None:
        """Let a stopped process go on."""
        self.woken_at = time.monotonic()
        self.child.wake()

    def _note(self, message: Message) -> None:
        if "point" in message:
            self.passed[message["point"]] = message["hit"]
            self.taken |= message.get("taken", {})
            if self.woken_at is not None and message["point"] == "job_sent":
                self.sent_after_waking = True
        elif "struck" in message:
            self.struck, self.struck_at = True, time.monotonic()
        elif "ended" in message:
            self.ended, self.why = message["ended"], message.get("why", "")

    def _strike_in_time(self) -> None:
        fault = self.fault
        if fault is None:
            return
        if not fault.point and not self.struck and self.child.age >= fault.moment * self.usual:
            self.struck, self.struck_at = True, time.monotonic()
            number = signal.SIGTERM if fault.action is Action.TERM else signal.SIGKILL
            self.child.send_signal(number)
        since = (time.monotonic() - self.struck_at) * 1000
        if self.struck and fault.action is Action.TERM and since >= fault.down_ms:
            self.child.send_signal(signal.SIGKILL)  # as Airflow's supervisor does in the end


@dataclass
class Sleeper:
    """A stopped try, and what it waits for.

    Attributes:
        ready: whether what it waits for has come.
    """

    trying: Trying
    ready: Callable[[], bool]
    stopped_at: float = field(default_factory=time.monotonic)
    ready_at: float | None = None

    def tick(self) -> None:
        """Wake it when its time has come; kill it when its end has."""
        fault, now = self.trying.fault, time.monotonic()
        if self.trying.over or fault is None:
            return
        if self.trying.woken_at is None:
            longest = LONGEST_PAUSE if fault.action is Action.PAUSE else LONGEST_STOP
            if self.ready_at is None and (self.ready() or now - self.stopped_at > longest):
                self.ready_at = now
            if self.ready_at is not None and now - self.ready_at >= fault.wake_ms / 1000:
                self.trying.wake()
            return
        if fault.action is Action.PAUSE:
            return  # it lives on: nobody declared it dead
        limit = LONGEST_ZOMBIE if fault.end_ms is None else fault.end_ms / 1000
        if now - self.trying.woken_at >= limit:
            self.trying.killed = True
            self.trying.child.send_signal(signal.SIGKILL)


def is_warehouse(action: Action | None) -> bool:
    """Whether a fault is the warehouse's."""
    return action in WAREHOUSE_ACTIONS
