"""Child processes that end with their parent, and what a parent sees of them."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)
Message = dict[str, Any]


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent ends, however that ends."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the line above
        os._exit(1)


class Pipe:
    """The child's end: messages to the parent, one JSON object a line."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def fileno(self) -> int:
        """The descriptor."""
        return self._descriptor

    def send(self, **message: object) -> None:
        """Send a message; short enough to go in whole."""
        os.write(self._descriptor, json.dumps(message).encode() + b"\n")


@dataclass
class Child:
    """A forked process.

    Attributes:
        began: when it was forked, on the monotonic clock.
        status: how it ended, negative for a signal; None while it lives.
        stopped: whether SIGSTOP holds it.
        messages: what it has sent.
    """

    pid: int
    descriptor: int
    began: float
    status: int | None = None
    stopped: bool = False
    messages: list[Message] = field(default_factory=list)
    _partial: bytes = b""

    @property
    def age(self) -> float:
        """Seconds since it was forked."""
        return time.monotonic() - self.began

    def poll(self) -> None:
        """Look once at what it sent and whether it lives."""
        if self.status is not None:
            return
        self._read()
        pid, status = os.waitpid(self.pid, os.WNOHANG | os.WUNTRACED | os.WCONTINUED)
        if pid == 0:
            return
        if os.WIFSTOPPED(status):
            self.stopped = True
        elif os.WIFCONTINUED(status):
            self.stopped = False
        else:
            self._read()
            self.status = os.waitstatus_to_exitcode(status)
            os.close(self.descriptor)

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, if it lives."""
        if self.status is None:
            os.kill(self.pid, number)

    def wake(self) -> None:
        """SIGCONT."""
        self.stopped = False
        self.send_signal(signal.SIGCONT)

    def end(self) -> None:
        """SIGKILL, and wait."""
        self.send_signal(signal.SIGKILL)
        while self.status is None:
            self.poll()
            time.sleep(0.001)

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self.descriptor, 65536)
            except BlockingIOError:
                return
            if not data:
                return
            *lines, self._partial = (self._partial + data).split(b"\n")
            # A server's standard output is the pipe; what is no message is somebody's log line.
            self.messages += [json.loads(line) for line in lines if line.startswith(b"{")]


def fork(main: Callable[[Pipe], None]) -> Child:
    """Fork this process; the child runs `main` and nothing after it. Call it single-threaded."""
    reading, writing = os.pipe()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            die_with_parent(parent)
            os.close(reading)
            main(Pipe(writing))
            status = 0
        except BaseException:  # noqa: BLE001  # whatever it was, the parent's code must not go on here
            import traceback

            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(writing)
    os.set_blocking(reading, False)
    return Child(pid, reading, time.monotonic())
