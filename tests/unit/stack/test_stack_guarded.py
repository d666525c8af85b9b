"""What a process starts ends with it, however it dies."""

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

from stack.guarded import GuardedProcess, run
from support.nested_processes import (
    TREE_PROCESSES,
    end_marked,
    marked,
    tree_command,
    wait_for_marked,
)

REPOSITORY = Path(__file__).resolve().parents[3]
FEW_SECONDS = 8
PATHS = os.pathsep.join(
    str(REPOSITORY / name) for name in ("plugins", "tools", "sandbox/src", "tests")
)
ENVIRONMENT = {**os.environ, "PYTHONPATH": PATHS}

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the promise is weaker")


@pytest.fixture
def marker() -> Iterator[str]:
    name = f"marker-{uuid.uuid4().hex}"
    yield name
    end_marked(name)


@contextmanager
def starter(marker: str, *, then: str = "time.sleep(300)") -> Iterator[subprocess.Popen[bytes]]:
    """A process that starts the tree the project's way and then sleeps."""
    script = f"""
        import os, time
        from support.nested_processes import end_marked, tree_command
        from stack.guarded import GuardedProcess, die_with_parent
        die_with_parent()
        process = GuardedProcess(tree_command({marker!r}), grace_seconds=0.5)
        {then}
    """
    # Plainly, as a shell starts pytest or the launcher: a guardian of its own would help.
    command = [sys.executable, "-c", textwrap.dedent(script)]
    process = subprocess.Popen(command, env=ENVIRONMENT, start_new_session=True)
    try:
        assert len(wait_for_marked(marker, TREE_PROCESSES)) == TREE_PROCESSES
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_the_whole_tree_ends_when_its_starter_dies(marker: str, number: signal.Signals) -> None:
    with starter(marker) as process:
        guardian = psutil.Process(process.pid).children()[0]
        process.send_signal(number)
        assert wait_for_marked(marker, 0, seconds=FEW_SECONDS) == []
        psutil.wait_procs([guardian], timeout=FEW_SECONDS)
        assert not guardian.is_running()


def test_a_fork_that_keeps_the_pipe_open_does_not_keep_the_tree(marker: str) -> None:
    with starter(marker, then="os.fork() or time.sleep(20); time.sleep(300)") as process:
        fork = next(child for child in psutil.Process(process.pid).children() if same(child))
        process.kill()
        assert wait_for_marked(marker, 0, seconds=FEW_SECONDS) == []
        assert fork.is_running()
        fork.kill()


def same(process: psutil.Process) -> bool:
    """Whether it is a fork of the starter, not its guardian."""
    return "-c" in process.cmdline() and "-I" not in process.cmdline()


def test_what_a_killed_command_leaves_behind_ends_before_it_counts_as_ended(marker: str) -> None:
    process = GuardedProcess(tree_command(marker), grace_seconds=0.5)
    assert len(wait_for_marked(marker, TREE_PROCESSES)) == TREE_PROCESSES
    os.kill(process.main_pid, signal.SIGKILL)
    assert process.wait(FEW_SECONDS) == -signal.SIGKILL
    assert marked(marker) == []


def test_a_killed_guardian_takes_the_command_with_it(marker: str) -> None:
    command = [sys.executable, "-c", "import time; time.sleep(300)", marker]
    process = GuardedProcess(command)
    assert len(wait_for_marked(marker, 1)) == 1
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait(FEW_SECONDS) == -signal.SIGKILL
    assert wait_for_marked(marker, 0, seconds=FEW_SECONDS) == []


def test_orphans_are_reaped_while_the_command_runs(marker: str) -> None:
    script = textwrap.dedent("""
        import os, time
        for _ in range(14):
            if os.fork() == 0:
                if os.fork() == 0:
                    time.sleep(0.2)
                os._exit(0)
            os.wait()
        print("forked", flush=True)
        time.sleep(300)
    """)
    command = [sys.executable, "-c", script, marker]
    with GuardedProcess(command, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == "forked\n"
        guardian = psutil.Process(process.pid)
        deadline = time.monotonic() + FEW_SECONDS
        while len(guardian.children(recursive=True)) > 1 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert [child.pid for child in guardian.children(recursive=True)] == [process.main_pid]


def test_a_command_keeps_its_exit_code_its_streams_and_its_signals() -> None:
    done = run(["sh", "-c", "cat; echo error >&2; exit 3"], text_input="typed", timeout=10)
    assert (done.returncode, done.stdout, done.stderr) == (3, "typed", "error\n")
    process = GuardedProcess(["sleep", "300"])
    process.terminate()
    assert process.wait(FEW_SECONDS) == -signal.SIGTERM


def test_a_command_that_is_not_there_says_so() -> None:
    done = run(["no-such-command"], timeout=10)
    assert done.returncode == 127
    assert done.stderr == "no-such-command: No such file or directory\n"


def test_a_command_that_takes_too_long_is_killed_with_its_tree(marker: str) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        run(tree_command(marker), timeout=2)
    assert marked(marker) == []


def test_nothing_of_a_process_stays_open_after_its_end() -> None:
    mine = psutil.Process()
    before = mine.num_fds()
    for _ in range(3):
        run(["true"], timeout=10)
    assert mine.num_fds() == before


def test_ending_a_process_ends_its_tree(marker: str) -> None:
    process = GuardedProcess(tree_command(marker), grace_seconds=0.5)
    assert len(wait_for_marked(marker, TREE_PROCESSES)) == TREE_PROCESSES
    process.end()
    assert marked(marker) == []
