"""The launcher over trees of processes in place of Airflow: how it dies, what it starts again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from e2e.harness import PORT_VARIABLES, free_ports
from stack.guarded import GuardedProcess
from stack.guardian import descendants
from stack.processes import RecentRestarts
from support.nested_processes import TREE_PROCESSES, end_marked, is_running, wait_for_marked

REPOSITORY = Path(__file__).resolve().parents[3]
PATHS = os.pathsep.join(
    str(REPOSITORY / name) for name in ("plugins", "tools", "sandbox/src", "tests")
)
START_SECONDS = 30.0
FEW_SECONDS = 10.0
COMPONENTS = 2

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the promise is weaker")

LAUNCHER = """
    import os, sys, types
    import stack.__main__ as launcher
    import stack.stack as module
    from support.nested_processes import end_marked, tree_command
    from stack.service import Service

    class TreeStack(module.Stack):
        def backing(self):
            return (Service("sandbox", tuple(tree_command(sys.argv[1])), os.environ),)
        def services(self):
            return (Service("scheduler", tuple(tree_command(sys.argv[1])), os.environ),)
        def _prepare(self):
            pass
        def _wait(self, what, is_ready, seconds):
            pass

    launcher.Stack = TreeStack
    sys.exit(launcher.main(["up"]))
"""


@pytest.fixture
def marker() -> Iterator[str]:
    name = f"marker-{uuid.uuid4().hex}"
    yield name
    end_marked(name)


@contextmanager
def launcher(marker: str, tmp_path: Path) -> Iterator[GuardedProcess]:
    """`stack up` over two trees, ready."""
    ports = zip(PORT_VARIABLES, free_ports(len(PORT_VARIABLES)), strict=True)
    environment = {
        **os.environ,
        **{name: str(port) for name, port in ports},
        "CONVERGENCE_VAR_DIR": str(tmp_path / "var"),
        "STOP_TIMEOUT_SECONDS": "2",
        "PYTHONPATH": PATHS,
    }
    with (tmp_path / "out").open("w") as out:
        command = [sys.executable, "-c", textwrap.dedent(LAUNCHER), marker]
        process = GuardedProcess(
            command, env=environment, cwd=REPOSITORY, stdout=out, stderr=subprocess.STDOUT
        )
    with process:
        # The launcher carries the marker too.
        whole = 1 + COMPONENTS * TREE_PROCESSES
        found = wait_for_marked(marker, whole, seconds=START_SECONDS)
        assert len(found) == whole, (tmp_path / "out").read_text()
        yield process


def find_component(process: GuardedProcess, number: int) -> psutil.Process:
    """A component's own process, below its guardian."""
    guardians = psutil.Process(process.main_pid).children()
    return guardians[number].children()[0]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_however_the_launcher_ends_nothing_stays(
    marker: str, tmp_path: Path, number: signal.Signals
) -> None:
    with launcher(marker, tmp_path) as process:
        # Those that would be left, guardians too, if only the launcher's own guardian ended them.
        guardians = psutil.Process(process.main_pid).children()
        os.kill(process.pid, signal.SIGSTOP)
        os.kill(process.main_pid, number)
        left = wait_for_marked(marker, 0, seconds=FEW_SECONDS)
        _gone, alive = psutil.wait_procs(guardians, timeout=FEW_SECONDS)
        os.kill(process.pid, signal.SIGCONT)
        assert [one for one in left if one.pid != process.main_pid] == []
        assert [one for one in alive if is_running(one)] == []


@pytest.mark.parametrize("victim", ["component", "guardian"])
def test_a_killed_component_starts_again_beside_nothing_of_its_former_self(
    marker: str, tmp_path: Path, victim: str
) -> None:
    with launcher(marker, tmp_path) as process:
        main = find_component(process, 1)
        guardian = main.parent()
        assert guardian is not None
        former = descendants(guardian.pid)
        (main if victim == "component" else guardian).kill()
        deadline = time.monotonic() + START_SECONDS
        while "starting it again" not in (tmp_path / "out").read_text():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        whole = 1 + COMPONENTS * TREE_PROCESSES
        found = wait_for_marked(marker, whole, seconds=START_SECONDS)
        assert len(found) == whole
        assert not former & {one.pid for one in found}
        zombies = [
            one.pid
            for one in psutil.Process(process.main_pid).children(recursive=True)
            if one.status() == psutil.STATUS_ZOMBIE
        ]
        assert zombies == []


def test_restarts_long_past_are_forgotten() -> None:
    restarts = RecentRestarts(maximum=3, window_seconds=600)
    assert [restarts.allow(now) for now in (0.0, 100.0, 200.0)] == [True] * 3
    assert not restarts.allow(599.0)
    assert restarts.allow(601.0)
    assert not restarts.allow(602.0)
    assert restarts.allow(701.0)


def test_a_component_that_ends_once_an_hour_is_always_started_again() -> None:
    restarts = RecentRestarts(maximum=3, window_seconds=600)
    assert all(restarts.allow(3600.0 * hour) for hour in range(100))
