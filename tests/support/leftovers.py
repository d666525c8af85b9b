"""Nothing that a module's tests start may outlive it; a pytest plugin that says what did.

After the last test of a module, threads, child processes, event loops and sockets are compared
with those before its first. What the setup of a session's fixture starts is allowed: it ends with
the session. The plugin also ends a worker of xdist whose controller has died.
"""

from __future__ import annotations

import asyncio
import gc
import os
import re
import sys
import threading
import time
from collections.abc import Generator, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from stack.guarded import die_with_parent

GRACE_SECONDS = 20.0
# Threads that live as long as the process, by the start of their names; the second is Airflow's.
LASTING_THREADS = ("die-with-parent", "InProcessExecutionAPI-loop")
# Of multiprocessing: one for all of a process's uses, ended by the kernel's pipe.
LASTING_PROCESSES = ("multiprocessing.forkserver", "multiprocessing.resource_tracker")
EVENT_LOOP = "anon_inode:[eventpoll]"


@dataclass
class Running:
    """What runs in a process and below it, each by a key that is never used twice."""

    threads: dict[int, str] = field(default_factory=dict)
    processes: dict[tuple[int, float], str] = field(default_factory=dict)
    descriptors: dict[tuple[int, str], str] = field(default_factory=dict)

    @classmethod
    def now(cls) -> Running:
        """Look at this process."""
        return cls(_threads(), _processes(), _descriptors())

    def beyond(self, *others: Running) -> list[str]:
        """Describe what none of the others has."""
        found: list[str] = []
        for kind in ("threads", "processes", "descriptors"):
            known = {key for other in others for key in getattr(other, kind)}
            found += [text for key, text in getattr(self, kind).items() if key not in known]
        return found

    def without_shared(self) -> Running:
        """Leave out the descriptors that are nobody's to close.

        Pools of shared clients keep connections; a server that should have ended is found itself.
        Libraries in C wait for events without a loop of asyncio.
        """
        ports, loops = _served_ports(), _open_loops()
        kept = {}
        for (fd, link), text in self.descriptors.items():
            is_open_loop = link == EVENT_LOOP and fd in loops
            is_open_socket = link != EVENT_LOOP and _is_own(text, ports=ports)
            if is_open_loop or is_open_socket:
                kept[fd, link] = text
        return Running(self.threads, self.processes, kept)

    def add(self, found: Running, *, beyond: Running) -> None:
        """Take over what `found` has and `beyond` has not."""
        for kind in ("threads", "processes", "descriptors"):
            known = getattr(beyond, kind)
            mine = getattr(self, kind)
            mine.update({key: v for key, v in getattr(found, kind).items() if key not in known})


class LeftoverCheck:
    """Compares the end of each module with its beginning."""

    def __init__(self) -> None:
        self._module: object = None
        self._before = Running()
        self._of_session = Running()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Look before the first test of a module."""
        if (module := item.nodeid.partition("::")[0]) != self._module:
            self._module = module
            self._before = Running.now()

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[object]
    ) -> Generator[None, object, object]:
        """Allow what a session's fixture starts."""
        if fixturedef.scope != "session":
            return (yield)
        before = Running.now()
        value = yield
        self._of_session.add(Running.now(), beyond=before)
        return value

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(
        self, item: pytest.Item, nextitem: pytest.Item | None
    ) -> Generator[None]:
        """Look after the last test of a module, when its fixtures are torn down."""
        yield
        module = item.nodeid.partition("::")[0]
        if nextitem is not None and nextitem.nodeid.partition("::")[0] == module:
            return
        if found := left_over(self._before, self._of_session):
            lines = "\n  ".join(found)
            pytest.fail(f"{module} leaves running:\n  {lines}\nend it in the test", pytrace=False)


def left_over(*known: Running, grace_seconds: float | None = None) -> list[str]:
    """Describe what runs and is not known, once it had `grace_seconds` to end."""
    deadline = time.monotonic() + (GRACE_SECONDS if grace_seconds is None else grace_seconds)
    if not Running.now().beyond(*known):
        return []
    # Clients of others close their sockets when they are collected.
    gc.collect()
    while found := Running.now().without_shared().beyond(*known):
        if time.monotonic() > deadline:
            return found
        time.sleep(0.05)
    return []


def pytest_configure(config: pytest.Config) -> None:
    """Watch every module; in a worker of xdist, its controller too."""
    if hasattr(config, "workerinput"):
        die_with_parent()
    config.pluginmanager.register(LeftoverCheck(), "leftover-check")


def _threads() -> dict[int, str]:
    return {
        id(thread): f"thread {thread.name}"
        for thread in threading.enumerate()
        if not thread.name.startswith(LASTING_THREADS)
    }


def _processes() -> dict[tuple[int, float], str]:
    found = {}
    for process in psutil.Process().children(recursive=True):
        try:
            command = " ".join(process.cmdline())
            zombie = process.status() == psutil.STATUS_ZOMBIE
            if not zombie and not any(name in command for name in LASTING_PROCESSES):
                key = (process.pid, process.create_time())
                found[key] = f"process {process.pid} {command[:200]}"
        except psutil.NoSuchProcess:
            continue
    return found


def _descriptors() -> dict[tuple[int, str], str]:
    if sys.platform != "linux":
        return {}
    links = dict(_links(Path("/proc/self/fd").iterdir()))
    sockets = {fd: link for fd, link in links.items() if link.startswith("socket:")}
    addresses = _addresses() if sockets else {}
    found = {
        (fd, link): f"socket {fd} {addresses[fd]}"
        for fd, link in sockets.items()
        if fd in addresses
    }
    for fd, link in links.items():
        if link == EVENT_LOOP:
            found[fd, link] = f"event loop with descriptor {fd}"
    return found


def _addresses() -> dict[int, str]:
    """Each socket's two ends, by its descriptor."""
    return {
        one.fd: f"{one.status} {':'.join(map(str, one.laddr))} to {':'.join(map(str, one.raddr))}"
        for one in psutil.Process().net_connections(kind="inet")
    }


def _is_own(text: str, *, ports: set[str]) -> bool:
    """Whether a socket listens, or joins two ends neither of which serves or has closed."""
    if " LISTEN " in text:
        return True
    # A pool notices that the server has closed only when it uses the connection again.
    ends = set(re.findall(r":(\d+)(?= |$)", text))
    return psutil.CONN_CLOSE_WAIT not in text and not ends & ports


def _served_ports() -> set[str]:
    """Ports on which this process or one below it listens."""
    found = set()
    mine = psutil.Process()
    for process in (mine, *mine.children(recursive=True)):
        with suppress(psutil.Error):
            found |= {
                str(one.laddr.port)
                for one in process.net_connections(kind="inet")
                if one.status == psutil.CONN_LISTEN
            }
    return found


def _open_loops() -> set[int]:
    """The descriptors by which the event loops wait that nobody has closed.

    One that runs has a thread, which is found itself.
    """
    found = set()
    for each in gc.get_objects():
        if isinstance(each, asyncio.SelectorEventLoop) and not (
            each.is_closed() or each.is_running()
        ):
            selector = each._selector  # type: ignore[attr-defined]
            found.add(selector.fileno())
    return found


def _links(descriptors: Iterable[Path]) -> Generator[tuple[int, str]]:
    for path in descriptors:
        try:
            yield int(path.name), os.readlink(path)  # noqa: PTH115 - no path: "socket:[1]"
        except OSError:
            continue
