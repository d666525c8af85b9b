"""A pytest that is killed leaves neither its sandbox nor anything else that its tests started."""

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

from support.nested_processes import TREE_PROCESSES, end_marked, is_running, wait_for_marked

REPOSITORY = Path(__file__).resolve().parents[3]
PATHS = os.pathsep.join(
    str(REPOSITORY / name) for name in ("plugins", "tools", "sandbox/src", "tests")
)
START_SECONDS = 120.0
FEW_SECONDS = 10.0

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the promise is weaker"),
    pytest.mark.timeout(300),
]

# A sandbox, a nested tree as of a stack's component, and a worker of multiprocessing.
TESTS = """
    import multiprocessing, os, sys, time
    from pathlib import Path
    import pytest
    from support.nested_processes import end_marked, tree_command
    from support.sandbox_process import SandboxProcess
    from stack.guarded import GuardedProcess, die_with_parent

    def work(folder):
        die_with_parent()
        Path(folder, f"pid-{os.getpid()}").touch()
        time.sleep(300)

    @pytest.mark.parametrize("number", [0, 1])
    def test_started(number):
        folder = Path(os.environ["FOLDER"])
        sandbox = SandboxProcess(folder / f"data-{os.getpid()}")
        sandbox.start()
        (folder / f"pid-{sandbox.pid}").touch()
        GuardedProcess(tree_command(os.environ["MARKER"]))
        multiprocessing.get_context("forkserver").Process(target=work, args=(str(folder),)).start()
        (folder / f"pid-{os.getpid()}").touch()
        (folder / f"worker-{os.getpid()}").touch()
        time.sleep(300)
"""


@pytest.fixture
def marker() -> Iterator[str]:
    name = f"marker-{uuid.uuid4().hex}"
    yield name
    end_marked(name)


@contextmanager
def running_pytest(marker: str, folder: Path, *, workers: int) -> Iterator[subprocess.Popen[bytes]]:
    """A pytest whose tests have started all they start."""
    (folder / "test_child.py").write_text(textwrap.dedent(TESTS))
    options = ["-n", str(workers)] if workers else []
    command = [
        *(sys.executable, "-m", "pytest", "-p", "support.leftovers", "-p", "xdist", *options),
        *("-p", "no:cacheprovider", "--rootdir", str(folder), "-o", "addopts="),
        str(folder / "test_child.py"),
    ]
    environment = {name: value for name, value in os.environ.items() if "PYTEST" not in name}
    environment |= {"PYTHONPATH": PATHS, "MARKER": marker, "FOLDER": str(folder)}
    # Importing every plugin takes longer than the test.
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    with (folder / "out").open("wb") as out:
        # As a shell starts it, in a process group of its own; ended by hand below.
        process = subprocess.Popen(
            command, env=environment, stdout=out, stderr=out, start_new_session=True
        )
    try:
        found = wait_for_marked(marker, TREE_PROCESSES * max(1, workers), seconds=START_SECONDS)
        assert found, (folder / "out").read_text()
        _wait_for_files(folder, max(1, workers))
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_nothing_stays_when_pytest_is_interrupted(
    marker: str, tmp_path: Path, number: signal.Signals, workers: int
) -> None:
    with running_pytest(marker, tmp_path, workers=workers) as process:
        family = psutil.Process(process.pid).children(recursive=True)
        if number == signal.SIGINT:
            # Ctrl-C reaches the whole foreground process group.
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        # xdist gives its workers ten seconds before it kills them.
        process.wait(4 * FEW_SECONDS)
        assert wait_for_marked(marker, 0, seconds=FEW_SECONDS) == []
        assert still_running(family) == []
        assert still_running(started(tmp_path)) == []


def test_nothing_of_a_killed_worker_stays(marker: str, tmp_path: Path) -> None:
    with running_pytest(marker, tmp_path, workers=2) as process:
        pid = int(next(tmp_path.glob("worker-*")).name.removeprefix("worker-"))
        worker = psutil.Process(pid)
        below = worker.children(recursive=True)
        assert below
        worker.kill()
        assert still_running(below) == []
        assert process.poll() is None


def started(folder: Path) -> list[psutil.Process]:
    """What the tests have named by a file and still runs."""
    pids = [int(path.name.removeprefix("pid-")) for path in folder.glob("pid-*")]
    return [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]


def still_running(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that have not ended within a few seconds."""
    _gone, alive = psutil.wait_procs(processes, timeout=FEW_SECONDS)
    return [one for one in alive if is_running(one)]


def _wait_for_files(folder: Path, number: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while len(list(folder.glob("worker-*"))) < number:
        assert time.monotonic() < deadline, (folder / "out").read_text()
        time.sleep(0.05)
