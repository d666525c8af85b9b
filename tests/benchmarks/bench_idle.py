"""CPU seconds per minute of `make up` with nothing to do but the minute's tick, by component.

Counted by the kernel for every process that the launcher has started, ended ones too
(`family_cpu.py`); parsing DAG files and the tick's tasks are in it.

PYTHONPATH=plugins:tools:sandbox/src:tests python tests/benchmarks/bench_idle.py
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import psutil

from benchmarks.family_cpu import family_seconds, seconds_by_name
from benchmarks.report import Report
from e2e.harness import start_stack

SETTLE_SECONDS = 120
MEASURED_MINUTES = 4
MOST_CPU_SECONDS = 4.0
NAMES = ("sandbox", "api-server", "scheduler", "dag-processor", "triggerer")


def main() -> int:
    """Start a fresh stack, let it settle, measure whole minutes, print the table."""
    report = Report("idle")
    with tempfile.TemporaryDirectory(prefix="bench-idle-") as folder:
        stack = start_stack(Path(folder) / "var")
        try:
            time.sleep(SETTLE_SECONDS)
            launcher = psutil.Process(stack.process.main_pid)
            components = _components(launcher)
            before, total = seconds_by_name(components), family_seconds(launcher)
            time.sleep(MEASURED_MINUTES * 60)
            after, total = seconds_by_name(components), family_seconds(launcher) - total
        finally:
            stack.stop()
    for name in components:
        report.add(name, (after[name] - before[name]) / MEASURED_MINUTES, "CPU-s/min")
    per_minute = total / MEASURED_MINUTES
    report.add("the whole stack", per_minute, "CPU-s/min", target=MOST_CPU_SECONDS)
    return report.finish()


def _components(launcher: psutil.Process) -> dict[str, psutil.Process]:
    """The launcher's children by the name in their command lines."""
    found: dict[str, psutil.Process] = {}
    for child in launcher.children():
        line = " ".join(child.cmdline()).replace("_", "-").split()
        found |= {name: child for name in NAMES if name in line}
    return found


if __name__ == "__main__":
    sys.exit(main())
