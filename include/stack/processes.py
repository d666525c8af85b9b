"""Child processes that can't be orphaned.

Airflow's task processes leave their supervisor's process group, so signalling groups is not
enough: this process becomes the reaper of all its descendants, and whatever is left of them after
the time for a clean stop is killed by pid.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


def become_reaper() -> None:
    """Have orphaned descendants re-parented to this process (Linux; elsewhere nothing)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _die_with_parent() -> None:
    # Runs in the child between fork and exec: if the launcher is killed, its children stop too.
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


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
    ) -> None:
        """Prepare a process; one that `stops_last` is told to stop when the others have."""
        self.stop_signal = stop_signal
        self.stops_last = stops_last
        self.name = name
        self.command = command
        self.env = env
        self.log = log
        self.cwd = cwd
        self.restarts = 0
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process; its output is appended to the log file."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                self.command,
                env=dict(self.env),
                cwd=self.cwd,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - the launcher has one thread
            )

    @property
    def pid(self) -> int | None:
        """Process id while it runs or until it is waited for; None before the start."""
        return self._process.pid if self._process else None

    def exit_code(self) -> int | None:
        """The exit code once the process has ended; None while it runs."""
        return self._process.poll() if self._process else None

    def terminate(self) -> None:
        """Ask the process to stop; its children are its own to stop."""
        if self._process and self._process.poll() is None:
            self._process.send_signal(self.stop_signal)


def stop_all(components: Sequence[Component], *, grace_seconds: float) -> list[str]:
    """Stop components and every descendant of this process.

    Returns:
        Names of what had to be killed after `grace_seconds`.
    """
    me = psutil.Process()
    family = {process.pid: process for process in me.children(recursive=True)}
    first = [component for component in components if not component.stops_last]
    last = [component for component in components if component.stops_last]
    for component in reversed(first):
        component.terminate()
    deadline = time.monotonic() + grace_seconds
    while time.monotonic() < deadline:
        if all(component.exit_code() is not None for component in first):
            while last:
                last.pop().terminate()
        family |= {process.pid: process for process in me.children(recursive=True)}
        if all(component.exit_code() is not None for component in components) and not _alive(
            family
        ):
            return []
        # What a crashed component left behind has nobody else to tell it to stop.
        _signal_orphans(me, components)
        time.sleep(0.1)
    left = _alive(family)
    names = [_describe(process) for process in left]
    for process in left:
        _kill(process)
    psutil.wait_procs(left, timeout=3)
    for component in components:
        component.exit_code()
    return names


def _signal_orphans(me: psutil.Process, components: Sequence[Component]) -> None:
    own = {component.pid for component in components}
    for child in me.children():
        if child.pid not in own:
            _reap(child.pid)
            try:
                child.terminate()
            except psutil.NoSuchProcess:
                continue


def _alive(family: Mapping[int, psutil.Process]) -> list[psutil.Process]:
    return [process for process in family.values() if _is_alive(process)]


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
