"""The launcher's child processes, each with its log, its restarts and its end.

Airflow's task processes leave their supervisor's process group, so signalling groups is not
enough: each component runs under a guardian that ends its whole tree (see `stack.guarded`), and
this process is the reaper of what a killed guardian leaves behind.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from stack.guarded import GuardedProcess, running_guardians
from stack.guardian import PR_SET_CHILD_SUBREAPER


def become_reaper() -> None:
    """Have orphaned descendants re-parented to this process (Linux; elsewhere nothing)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


class RecentRestarts:
    """When a component was started again, as far back as `window_seconds`."""

    def __init__(self, *, maximum: int, window_seconds: float) -> None:
        self._maximum = maximum
        self._window_seconds = window_seconds
        self._times: deque[float] = deque()

    def allow(self, now: float) -> bool:
        """Count one more restart at the monotonic time `now`, unless there were too many."""
        while self._times and now - self._times[0] > self._window_seconds:
            self._times.popleft()
        if len(self._times) >= self._maximum:
            return False
        self._times.append(now)
        return True


class Component:
    """One named child process with a log file and a process group of its own."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        log: Path,
        cwd: Path,
        stop_signal: signal.Signals = signal.SIGTERM,
        stops_last: bool = False,
        restarts: RecentRestarts | None = None,
    ) -> None:
        """Prepare a process; one that `stops_last` is stopped after the others."""
        self.stop_signal = stop_signal
        self.stops_last = stops_last
        self.name = name
        self.command = command
        self.env = env
        self.log = log
        self.cwd = cwd
        self.restarts = restarts or RecentRestarts(maximum=3, window_seconds=600)
        self._process: GuardedProcess | None = None

    def start(self) -> None:
        """Start the process; its output is appended to the log file."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as output:
            self._process = GuardedProcess(
                self.command,
                env=self.env,
                cwd=self.cwd,
                stdout=output,
                stderr=subprocess.STDOUT,
                stop_signal=self.stop_signal,
            )

    @property
    def pid(self) -> int | None:
        """Process id while it runs or until it is waited for; None before the start."""
        return self._process.main_pid if self._process else None

    def exit_code(self) -> int | None:
        """Return the exit code once the process and all that it started have ended; None before."""
        return self._process.poll() if self._process else None

    def terminate(self) -> None:
        """Ask the process to stop; its guardian ends what it leaves behind."""
        if self._process and self._process.poll() is None:
            self._process.send_signal(self.stop_signal)


def stop_all(components: Sequence[Component], *, grace_seconds: float) -> list[str]:
    """Stop components and every descendant of this process.

    Returns:
        Names of what had to be killed after `grace_seconds`.
    """
    first = [component for component in components if not component.stops_last]
    last = [component for component in components if component.stops_last]
    for component in reversed(first):
        component.terminate()
    deadline = time.monotonic() + grace_seconds
    while time.monotonic() < deadline:
        if all(component.exit_code() is not None for component in first):
            while last:
                last.pop().terminate()
        # What a killed guardian left behind has no one else to stop it.
        _signal_orphans(signal.SIGTERM)
        if all(component.exit_code() is not None for component in components) and not _orphans():
            return []
        time.sleep(0.1)
    return _kill_all(components)


def end_orphans(*, within_seconds: float = 5.0) -> None:
    """Kill and reap what a killed guardian left behind, before its component starts again."""
    deadline = time.monotonic() + within_seconds
    while _orphans() and time.monotonic() < deadline:
        _signal_orphans(signal.SIGKILL)
        time.sleep(0.02)


def _kill_all(components: Sequence[Component]) -> list[str]:
    guardians = running_guardians()
    family = psutil.Process().children(recursive=True)
    left = [process for process in family if process.pid not in guardians and _is_alive(process)]
    names = [_describe(process) for process in left]
    for process in left:
        _kill(process)
    # Guardians end when nothing is left below them.
    psutil.wait_procs(left, timeout=3)
    deadline = time.monotonic() + 3
    while any(component.exit_code() is None for component in components):
        if time.monotonic() > deadline:
            break
        time.sleep(0.02)
    end_orphans()
    return names


def _orphans() -> list[psutil.Process]:
    guardians = running_guardians()
    return [child for child in psutil.Process().children() if child.pid not in guardians]


def _signal_orphans(number: signal.Signals) -> None:
    for child in _orphans():
        _reap(child.pid)
        try:
            child.send_signal(number)
        except psutil.NoSuchProcess:
            continue


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _describe(process: psutil.Process) -> str:
    try:
        return f"{process.pid} {process.name()}"
    except psutil.NoSuchProcess:
        return str(process.pid)


def _kill(process: psutil.Process) -> None:
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return


def _reap(pid: int) -> None:
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return
