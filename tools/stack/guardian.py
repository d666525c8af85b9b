"""Run one command and end its whole tree when the command, or its starter, dies.

    python -I -S guardian.py LEASE REPORT GRACE_SECONDS STOP_SIGNAL COMMAND…

`stack.guarded` starts this file as a script of its own, so it imports the standard library only.
LEASE is the reading end of a pipe whose writing end the starter holds: it closes when the starter
dies, however it dies. The command's process id goes to REPORT.

On Linux this process is the reaper of its descendants: one that changes its process group or loses
its parent stays in the tree, and no child left means no descendant left. Elsewhere only the
command's process group and the children that `ps` still connects to it are ended: a process that
left the group and lost its parent survives there.
"""

from __future__ import annotations

import ctypes
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import NoReturn

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1)
RESET = (*FORWARDED, signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ)
IDLE_SECONDS = 1.0
ENDING_SECONDS = 0.02
COMMAND_NOT_FOUND = 127


class Guardian:
    """One command, the pipe to its starter, and what is known of their ends."""

    def __init__(
        self, command: list[str], *, lease: int, grace_seconds: float, stop_signal: int
    ) -> None:
        self._starter = os.getppid()
        self._lease = lease
        self._grace_seconds = grace_seconds
        self._stop_signal = stop_signal
        self._deadline: float | None = None
        self._terminated: set[int] = set()
        self._wake = _watch_signals(self._forward)
        self._main = _start(command)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED)

    @property
    def main(self) -> int:
        """Process id of the command."""
        return self._main

    @property
    def descriptors(self) -> set[int]:
        """Return what this process itself has open."""
        return {self._lease, *self._wake}

    def run(self) -> int:
        """Wait for the end of the whole tree.

        Returns:
            The command's wait status.
        """
        while not self._is_over():
            watched = [self._wake[0]] if self._deadline else [self._wake[0], self._lease]
            idle = ENDING_SECONDS if self._deadline else IDLE_SECONDS
            ready, _, _ = select.select(watched, [], [], idle)
            if self._wake[0] in ready:
                os.read(self._wake[0], 4096)
            # A fork of the starter may keep the pipe open after the starter's death.
            if self._lease in ready or os.getppid() != self._starter:
                self._end_main()
        return os.waitpid(self._main, 0)[1]

    def _is_over(self) -> bool:
        found = os.waitid(os.P_PID, self._main, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        others = self._reap(descendants(os.getpid()) - {self._main})
        if found is not None:
            if not others:
                return True
            for pid in others - self._terminated:
                _kill(pid, signal.SIGTERM)
            self._terminated |= others
            self._set_deadline()
        if self._deadline and time.monotonic() >= self._deadline:
            for pid in (*others, self._main):
                _kill(pid, signal.SIGKILL)
        return False

    def _end_main(self) -> None:
        if self._deadline is None:
            self._set_deadline()
            _kill(self._main, self._stop_signal)

    def _set_deadline(self) -> None:
        if self._deadline is None:
            self._deadline = time.monotonic() + self._grace_seconds

    def _reap(self, others: set[int]) -> set[int]:
        return {pid for pid in others if not _reaped(pid)}

    def _forward(self, number: int, _frame: object) -> None:
        if number != signal.SIGCHLD:
            _kill(self._main, number)


def descendants(root: int) -> set[int]:
    """Return the process ids of every process below `root`, zombies too."""
    children: dict[int, list[int]] = {}
    for pid, parent in _parents():
        children.setdefault(parent, []).append(pid)
    found: set[int] = set()
    waiting = [root]
    while waiting:
        below = children.get(waiting.pop(), [])
        waiting += below
        found.update(below)
    return found


def _parents() -> list[tuple[int, int]]:
    if sys.platform != "linux":
        import subprocess

        listing = subprocess.run(
            ["/bin/ps", "-axo", "pid=,ppid="], capture_output=True, text=True, check=True
        )
        pairs = (line.split() for line in listing.stdout.splitlines())
        return [(int(pid), int(parent)) for pid, parent in pairs]
    found = []
    for name in os.listdir("/proc"):  # noqa: PTH208 - one small string per process, not a Path
        if name.isdigit():
            with suppress(OSError):
                # The command's name is in parentheses and may contain anything.
                with open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123 - pathlib is slow to import
                    after_name = file.read().rpartition(b")")[2]
                found.append((int(name), int(after_name.split()[1])))
    return found


def _start(command: list[str]) -> int:
    guardian = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    for number in RESET:
        signal.signal(number, signal.SIG_DFL)
    signal.set_wakeup_fd(-1)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED)
    os.setsid()
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != guardian:
        os._exit(COMMAND_NOT_FOUND)
    try:
        os.execvp(command[0], command)  # noqa: S606 - the starter's command, without a shell
    except OSError as error:
        os.write(2, f"{command[0]}: {error.strerror}\n".encode())
        os._exit(COMMAND_NOT_FOUND)


def _watch_signals(handler: Callable[[int, FrameType | None], None]) -> tuple[int, int]:
    # A signal that comes before the command runs waits for it.
    signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED)
    read, write = os.pipe()
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    for number in (*FORWARDED, signal.SIGCHLD):
        signal.signal(number, handler)
    return read, write


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def _reaped(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return False


def _kill(pid: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)
    if sys.platform != "linux":
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, number)


def _leave_streams(kept: set[int]) -> None:
    # Readers of the command's output see its end when the command ends, not when this process does.
    null = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(null, stream)
    for name in os.listdir("/dev/fd"):  # noqa: PTH208 - numbers, not paths
        if int(name) > 2 and int(name) not in kept:
            with suppress(OSError):
                os.close(int(name))


def _end_like(status: int) -> NoReturn:
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with suppress(OSError):
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(os.waitstatus_to_exitcode(status))


def main(arguments: list[str]) -> NoReturn:
    """Run the command of `arguments`, end its tree, and end as it ended."""
    lease, report = int(arguments[0]), int(arguments[1])
    for descriptor in (lease, report):
        os.set_inheritable(descriptor, False)
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    guardian = Guardian(
        arguments[4:],
        lease=lease,
        grace_seconds=float(arguments[2]),
        stop_signal=int(arguments[3]),
    )
    os.write(report, f"{guardian.main}\n".encode())
    _leave_streams(guardian.descriptors)
    _end_like(guardian.run())


if __name__ == "__main__":
    main(sys.argv[1:])
