"""A tree of processes as an Airflow component makes one, with a marker to find them by."""

from __future__ import annotations

import sys
import textwrap
import time
from contextlib import suppress

import psutil

# Main, a child in a session of its own that ignores SIGTERM, its child, and a double fork.
_TREE = """
    import os, signal, subprocess, sys, time
    marker = sys.argv[1]
    sleep = "import time; time.sleep(300)"
    deaf = "import signal, subprocess, sys, time; signal.signal(15, signal.SIG_IGN);" \\
           f"subprocess.Popen([sys.executable, '-c', '{sleep}', sys.argv[1]]); time.sleep(300)"
    subprocess.Popen([sys.executable, "-c", deaf, marker], start_new_session=True)
    if os.fork() == 0:
        os.setsid()
        subprocess.Popen([sys.executable, "-c", sleep, marker], start_new_session=True)
        os._exit(0)
    os.wait()
    time.sleep(300)
"""
TREE_PROCESSES = 4


def tree_command(marker: str) -> list[str]:
    """The command of the tree's main process."""
    return [sys.executable, "-c", textwrap.dedent(_TREE), marker]


def marked(marker: str) -> list[psutil.Process]:
    """Every living process with the marker in its command line, guardians apart."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        line = process.info["cmdline"] or []
        if marker in line and not _is_guardian(line) and process.info["status"] != "zombie":
            found.append(process)
    return found


def wait_for_marked(marker: str, number: int, *, seconds: float = 15) -> list[psutil.Process]:
    """Wait until so many processes carry the marker.

    Returns:
        Those that carry it at the end of the wait.
    """
    deadline = time.monotonic() + seconds
    while len(found := marked(marker)) != number and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def end_marked(marker: str) -> None:
    """Kill what still carries the marker."""
    for process in marked(marker):
        with suppress(psutil.NoSuchProcess):
            process.kill()


def is_running(process: psutil.Process) -> bool:
    """Whether a process has not ended; one that waits to be reaped has."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _is_guardian(line: list[str]) -> bool:
    return any(part.endswith("guardian.py") for part in line)
