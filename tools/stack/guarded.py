"""The one way to start a process: it ends, with all that it starts, when this process dies.

Each command runs under a guardian (see `stack.guardian`), a small process that holds one end of a
pipe whose other end is here. However this process dies, the kernel closes the pipe and the
guardian ends the command's whole tree. It does so too when the command ends by itself.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from multiprocessing.process import parent_process
from pathlib import Path
from types import TracebackType
from typing import IO

GUARDIAN = Path(__file__).with_name("guardian.py")
GRACE_SECONDS = 3.0
REPORT_SECONDS = 30.0

_STARTED: weakref.WeakSet[GuardedProcess] = weakref.WeakSet()

Command = Sequence[str | Path]
Stream = int | IO[str] | IO[bytes] | None


class GuardedProcess(subprocess.Popen[str]):
    """A command whose whole tree ends with it and with this process; text streams.

    Signals go to the command itself; `pid` is its guardian's. The command runs in a session of its
    own, so that Ctrl-C reaches this process alone. Leaving the context ends the tree.
    """

    def __init__(
        self,
        command: Command,
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stdin: Stream = subprocess.DEVNULL,
        stdout: Stream = None,
        stderr: Stream = None,
        grace_seconds: float = GRACE_SECONDS,
        stop_signal: signal.Signals = signal.SIGTERM,
    ) -> None:
        """Start the command; what outlives `stop_signal` by `grace_seconds` is killed."""
        lease, lease_writer = os.pipe()
        self._report, report = os.pipe()
        self._main_pid: int | None = None
        self._close = weakref.finalize(self, _close, lease_writer, self._report)
        guardian = [sys.executable, "-I", "-S", str(GUARDIAN), str(lease), str(report)]
        try:
            super().__init__(
                [*guardian, str(grace_seconds), str(int(stop_signal)), *map(str, command)],
                env=env,
                cwd=cwd,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                text=True,
                pass_fds=(lease, report),
                start_new_session=True,
            )
        except BaseException:
            self._close()
            raise
        finally:
            os.close(lease)
            os.close(report)
        _STARTED.add(self)

    @property
    def main_pid(self) -> int:
        """Return the command's process id.

        Raises:
            ProcessLookupError: the guardian ended before it could start the command.
        """
        if self._main_pid is None:
            ready, _, _ = select.select([self._report], [], [], REPORT_SECONDS)
            line = os.read(self._report, 32) if ready else b""
            if not line:
                raise ProcessLookupError(f"the guardian {self.pid} did not start its command")
            self._main_pid = int(line)
        return self._main_pid

    def send_signal(self, sig: int) -> None:
        """Send a signal to the command, if it has not ended."""
        if self.poll() is None:
            try:
                os.kill(self.main_pid, sig)
            except ProcessLookupError:
                return

    def wait(self, timeout: float | None = None) -> int:
        """Wait until the whole tree has ended.

        Returns:
            The command's exit code.
        """
        code = super().wait(timeout)
        self._close()
        return code

    def end(self) -> int:
        """End the whole tree as if this process had died, and wait for it."""
        self._close()
        return self.wait()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()
        super().__exit__(kind, error, trace)


def running_guardians() -> set[int]:
    """Return the process ids of the guardians of this process that have not been waited for."""
    return {process.pid for process in _STARTED if process.returncode is None}


def run(
    command: Command,
    *,
    timeout: float,
    check: bool = False,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    text_input: str | None = None,
    stdin: Stream = subprocess.DEVNULL,
    stdout: Stream = subprocess.PIPE,
    stderr: Stream = subprocess.PIPE,
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; its output is captured unless it is sent elsewhere.

    Raises:
        subprocess.TimeoutExpired: it ran longer than `timeout` seconds, and was killed.
        subprocess.CalledProcessError: it ended with another code than 0, under `check`.
    """
    stdin = subprocess.PIPE if text_input is not None else stdin
    with GuardedProcess(
        command, env=env, cwd=cwd, stdin=stdin, stdout=stdout, stderr=stderr
    ) as process:
        try:
            output, errors = process.communicate(text_input, timeout=timeout)
        except BaseException:
            process.kill()
            raise
    done = subprocess.CompletedProcess(list(command), process.returncode, output, errors)
    if check:
        done.check_returncode()
    return done


def die_with_parent(*, look_seconds: float = 0.5) -> None:
    """Kill this process when its parent has died; for what no guardian could start.

    Workers of `multiprocessing` and of xdist are such. A thread looks at the parent's process id:
    the kernel's own signal follows the parent's thread, not the parent. A worker of a fork server
    looks at the process that requested it: the fork server lives as long as its workers.
    """
    parent, owner = os.getppid(), parent_process()

    def look() -> None:
        while os.getppid() == parent and (owner is None or owner.is_alive()):
            time.sleep(look_seconds)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=look, name="die-with-parent", daemon=True).start()


def _close(*descriptors: int) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
