"""CPU seconds per task in the demo: what starting a task costs, whatever it then does.

The scheduler's executor forks workers, and each worker forks a process per task and waits for it.
Just before the stack stops, /proc says what the workers used themselves and what the tasks used
that they waited for (`family_cpu.py`); Airflow's database says how many tasks ran.

PYTHONPATH=plugins:tools:sandbox/src:tests python tests/benchmarks/bench_tasks.py
"""

from __future__ import annotations

import os
import sqlite3
import sys
import tempfile
from pathlib import Path

import psutil

from benchmarks.family_cpu import CpuTime, executor_workers, workers_time
from benchmarks.report import Report
from e2e.harness import PORT_VARIABLES, free_ports
from stack.demo import Demo
from stack.settings import StackSettings
from stack.stack import Stack

MOST_CPU_SECONDS = 0.16
ROUNDS = 2


def main() -> int:
    """Run the demo on a fresh directory, a few times; print the table."""
    report = Report("tasks")
    for number in range(1, ROUNDS + 1):
        with tempfile.TemporaryDirectory(prefix="bench-tasks-") as folder:
            used, tasks = measure_demo(Path(folder))
        name = f"demo {number}"
        report.add(f"{name}: tasks", tasks, "tasks")
        report.add(f"{name}: worker and task", used.total / tasks, "CPU-s", target=MOST_CPU_SECONDS)
        report.add(f"{name}:   the task's process", used.ended / tasks, "CPU-s")
        report.add(f"{name}:   its worker", used.own / tasks, "CPU-s")
    return report.finish()


def measure_demo(var_dir: Path) -> tuple[CpuTime, int]:
    """Run the demo; CPU time of the executor's workers, and the number of tasks they ran."""
    ports = dict(zip(PORT_VARIABLES, free_ports(len(PORT_VARIABLES)), strict=True))
    os.environ.update({name: str(port) for name, port in ports.items()})
    os.environ["CONVERGENCE_VAR_DIR"] = str(var_dir)
    with Stack(StackSettings(), say=_say, on_schedule=False) as stack:
        Demo(stack, say=_say).drive()
        (scheduler,) = (one for one in stack.components if one.name == "scheduler")
        used = workers_time(executor_workers(psutil.Process(scheduler.pid)))
        return used, count_tasks(var_dir / "airflow" / "airflow.db")


def count_tasks(database: Path) -> int:
    """Return how many processes ran tasks: every try that has ended, whatever its outcome."""
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        ended = "SELECT count(*) FROM task_instance WHERE pid IS NOT NULL AND end_date IS NOT NULL"
        earlier = "SELECT count(*) FROM task_instance_history WHERE pid IS NOT NULL"
        return sum(int(connection.execute(query).fetchone()[0]) for query in (ended, earlier))


def _say(message: str) -> None:
    sys.stderr.write(f"{message}\n")


if __name__ == "__main__":
    sys.exit(main())
