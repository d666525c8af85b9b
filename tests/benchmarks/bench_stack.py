"""The whole local stack: how long until it is ready, what it holds in memory, and the demo.

PYTHONPATH=plugins:tools:sandbox/src:tests python tests/benchmarks/bench_stack.py
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from benchmarks.report import Report, stopwatch
from e2e.harness import (
    PORT_VARIABLES,
    REPOSITORY,
    STOP_SECONDS,
    RunningStack,
    free_ports,
    start_stack,
)
from stack import guarded

SETTLE_SECONDS = 20
DEMO_SECONDS = 240


def main() -> int:
    """Measure all and print the table."""
    report = Report("stack")
    with tempfile.TemporaryDirectory(prefix="bench-stack-") as folder:
        at_rest(Path(folder) / "rest", report)
        demo(Path(folder) / "demo", report)
    return report.finish()


def at_rest(var_dir: Path, report: Report) -> None:
    """Start a fresh stack, let it settle, weigh it, stop it."""
    with stopwatch() as fresh:
        stack = start_stack(var_dir)
    try:
        report.add("ready, fresh database", fresh.wall, "s")
        time.sleep(SETTLE_SECONDS)
        report.add("memory at rest (PSS)", _proportional_megabytes(stack), "MB", target=2048)
    finally:
        seconds = stack.stop()
    report.add("stop", seconds, "s", target=STOP_SECONDS)


def demo(var_dir: Path, report: Report) -> None:
    """Run the demo twice: on nothing, and on what the first left."""
    ports = dict(zip(PORT_VARIABLES, free_ports(len(PORT_VARIABLES)), strict=True))
    env = os.environ | {name: str(port) for name, port in ports.items()}
    env |= {"CONVERGENCE_VAR_DIR": str(var_dir), "PYTHONPATH": "plugins:tools:sandbox/src"}
    for name in ("demo, fresh", "demo, again"):
        used = _children_cpu_seconds()
        with stopwatch() as watch:
            guarded.run(
                [sys.executable, "-m", "stack", "demo"],
                cwd=REPOSITORY,
                env=env,
                stdout=subprocess.DEVNULL,
                check=True,
                timeout=1800,
            )
        report.add(name, watch.wall, "s", target=DEMO_SECONDS)
        report.add(f"{name}, CPU", _children_cpu_seconds() - used, "CPU-s")


def _proportional_megabytes(stack: RunningStack) -> float:
    guardian = psutil.Process(stack.process.pid)
    family = [guardian, *guardian.children(recursive=True)]
    return sum(float(process.memory_full_info().pss) for process in family) / 2**20


def _children_cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    sys.exit(main())
