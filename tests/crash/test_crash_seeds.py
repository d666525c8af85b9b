"""The loop as `make crash` runs it: seeds pass, the naive loader does not, nothing stays."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from convergence.settings import PROJECT_ROOT
from stack import guarded

pytestmark = pytest.mark.slow
PATHS = ":".join(str(PROJECT_ROOT / name) for name in ("plugins", "tools", "sandbox/src", "tests"))


ENVIRONMENT = {**os.environ, "PYTHONPATH": PATHS}


def command(folder: Path, *options: str) -> list[str]:
    """`python -m crash`, with its progress in a folder of its own."""
    return [sys.executable, "-m", "crash", "--folder", str(folder), *options]


def crash(folder: Path, *options: str, timeout: float) -> subprocess.CompletedProcess[str]:
    """Run a loop to its end."""
    return guarded.run(
        command(folder, *options),
        timeout=timeout,
        env=ENVIRONMENT,
        cwd=PROJECT_ROOT,
        stderr=subprocess.STDOUT,
    )


def findings(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "progress.ndjson").read_text().splitlines()
    return [json.loads(line)["findings"] for line in lines]


@pytest.mark.timeout(1800)
def test_twenty_seeds_lose_double_and_mix_nothing_and_no_run_fails(tmp_path: Path) -> None:
    done = crash(tmp_path, "--seeds", "20", timeout=1790)
    assert done.returncode == 0, done.stdout
    found = findings(tmp_path)
    assert len(found) >= 20
    assert not [one["wrong"] for one in found if one["wrong"]]
    # A loop in which nothing strikes and nobody reads would prove nothing.
    assert sum(sum(one["struck"].values()) for one in found) >= 15
    assert sum(one["reads"] for one in found) >= 40


@pytest.mark.timeout(900)
def test_the_same_loop_finds_what_is_wrong_with_a_naive_loader(tmp_path: Path) -> None:
    done = crash(tmp_path, "--naive", "--seeds", "8", "--lanes", "1", timeout=890)
    assert done.returncode == 1, done.stdout
    kinds: Counter[str] = Counter()
    for one in findings(tmp_path):
        kinds.update(sentence.partition(":")[0] for sentence in one["wrong"])
    assert not kinds["harness"], done.stdout
    assert kinds["doubled"], done.stdout
    assert len(kinds) > 1, done.stdout


@pytest.mark.timeout(300)
def test_nothing_outlives_a_loop_that_is_killed(tmp_path: Path) -> None:
    # Without a guardian, as a person starts it: the loop itself sees to it.
    process = subprocess.Popen(
        command(tmp_path, "--seeds", "1", "--lanes", "1"), env=ENVIRONMENT, cwd=PROJECT_ROOT
    )
    try:
        limit = time.monotonic() + 120
        # The runner, its lane, the sandbox and the provider at the least.
        while len(started := descendants(process.pid)) < 3:
            assert process.poll() is None
            assert time.monotonic() < limit
            time.sleep(0.1)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    limit = time.monotonic() + 30
    while left := [pid for pid in started if is_alive(pid)]:
        assert time.monotonic() < limit, left
        time.sleep(0.1)


def descendants(pid: int) -> list[int]:
    """Every process below one."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [
        found for child in map(int, children) for found in (child, *descendants_if_there(child))
    ]


def descendants_if_there(pid: int) -> list[int]:
    try:
        return descendants(pid)
    except FileNotFoundError:
        return []


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits to be reaped does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"
