from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import psutil
import pytest

from stack import guarded

TOOLS = Path(__file__).resolve().parents[3] / "tools"

# A component whose child leaves its process group and ignores SIGTERM, as Airflow's tasks may.
STUBBORN = """
    import os, signal, subprocess, sys, time
    subprocess.Popen([sys.executable, "-c", (
        "import signal, time, os, pathlib;"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "pathlib.Path(os.environ['PID_FILE']).write_text(str(os.getpid()));"
        "time.sleep(60)")], start_new_session=True)
    time.sleep(60)
"""

LAUNCHER = """
    import sys, time, os, pathlib
    from stack.processes import Component, become_reaper, stop_all
    become_reaper()
    script, crash, log = sys.argv[1], sys.argv[2] == "crash", pathlib.Path(sys.argv[3])
    command = [sys.executable, "-c", script]
    component = Component("c", command, env=os.environ, log=log, cwd=log.parent)
    component.start()
    pid_file = pathlib.Path(os.environ["PID_FILE"])
    while not pid_file.exists() or not pid_file.read_text():
        time.sleep(0.05)
    if crash:
        os.kill(component.pid, 9)
        time.sleep(0.2)
    print("killed", len(stop_all([component], grace_seconds=1)), flush=True)
    import psutil
    print("left", len(psutil.Process().children(recursive=True)), flush=True)
"""


@pytest.mark.parametrize("mode", ["healthy", "crash"])
def test_a_grandchild_that_ignores_sigterm_is_killed(tmp_path: Path, mode: str) -> None:
    pid_file = tmp_path / "pid"
    env = os.environ | {"PYTHONPATH": str(TOOLS), "PID_FILE": str(pid_file)}
    told = guarded.run(
        [
            sys.executable,
            "-c",
            textwrap.dedent(LAUNCHER),
            textwrap.dedent(STUBBORN),
            mode,
            tmp_path / "log",
        ],
        env=env,
        timeout=30,
    )
    assert told.stdout.split() == ["killed", "1", "left", "0"], told.stderr
    assert not psutil.pid_exists(int(pid_file.read_text()))


def test_a_component_dies_with_a_launcher_that_is_killed(tmp_path: Path) -> None:
    launcher = textwrap.dedent("""
        import os, pathlib, sys, time
        from stack.processes import Component
        here = pathlib.Path(sys.argv[1])
        component = Component("c", [sys.executable, "-c", "import time; time.sleep(60)"],
                              env=os.environ, log=here / "log", cwd=here)
        component.start()
        print(component.pid, flush=True)
        time.sleep(60)
    """)
    with guarded.GuardedProcess(
        [sys.executable, "-c", launcher, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": str(TOOLS)},
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout
        component = psutil.Process(int(process.stdout.readline()))
        process.send_signal(signal.SIGKILL)
    gone, alive = psutil.wait_procs([component], timeout=10)
    assert gone
    assert not alive


def test_stopping_is_quick_when_everything_listens(tmp_path: Path) -> None:
    # In a process of its own: `stop_all` stops every descendant of its caller.
    launcher = textwrap.dedent("""
        import os, pathlib, sys, time
        from stack.processes import Component, stop_all
        here = pathlib.Path(sys.argv[1])
        component = Component("c", [sys.executable, "-c", "import time; time.sleep(60)"],
                              env=os.environ, log=here / "log", cwd=here)
        component.start()
        began = time.monotonic()
        killed = stop_all([component], grace_seconds=10)
        print(killed, time.monotonic() - began < 5, component.exit_code())
    """)
    told = guarded.run(
        [sys.executable, "-c", launcher, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": str(TOOLS)},
        timeout=30,
    )
    assert told.stdout.split() == ["[]", "True", str(-signal.SIGTERM)], told.stderr
