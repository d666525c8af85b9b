"""Rows of a benchmark: printed as a table, and written to `var/bench/<name>.json`.

    report = Report("sandbox")
    report.add("start", 1.7, "s", target=3.0)
    sys.exit(report.finish())

A target is the most a value may be, or with `at_least=True` the least. `stopwatch` measures wall
and CPU seconds, of this process or of another by its id.
"""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

BENCH_DIR = Path(__file__).resolve().parents[2] / "var" / "bench"


@dataclass(frozen=True)
class Row:
    """One figure: what was measured, how much, in what unit, and whether that is enough.

    Attributes:
        target: the bound, or None for a figure that is only reported.
        ok: whether the bound holds; true without one.
    """

    name: str
    value: float
    unit: str
    target: float | None = None
    ok: bool = True


@dataclass
class Stopwatch:
    """Seconds between entering and leaving a `stopwatch` block."""

    wall: float = 0.0
    cpu: float = 0.0


@contextmanager
def stopwatch(pid: int | None = None) -> Iterator[Stopwatch]:
    """Measure a block: wall seconds, and CPU seconds of this process or of the one given."""
    watch = Stopwatch()
    began, used = time.perf_counter(), cpu_seconds(pid)
    yield watch
    watch.wall, watch.cpu = time.perf_counter() - began, cpu_seconds(pid) - used


def cpu_seconds(pid: int | None = None) -> float:
    """User and system CPU seconds of a process so far."""
    if pid is not None:
        times = psutil.Process(pid).cpu_times()
        return float(times.user + times.system)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def resident_megabytes(pid: int) -> float:
    """Resident memory of a process, in units of 2**20 bytes."""
    return float(psutil.Process(pid).memory_info().rss) / 2**20


class Report:
    """The rows of one benchmark, in the order they were added."""

    def __init__(self, name: str, *, folder: Path = BENCH_DIR) -> None:
        self._name = name
        self._folder = folder
        self.rows: list[Row] = []

    def add(
        self,
        name: str,
        value: float,
        unit: str,
        *,
        target: float | None = None,
        at_least: bool = False,
    ) -> Row:
        """Add a figure."""
        holds = target is None or (value >= target if at_least else value <= target)
        row = Row(name, round(value, 4), unit, target, ok=holds)
        self.rows.append(row)
        return row

    def table(self) -> str:
        """The rows in aligned columns."""
        cells = [("what", "value", "unit", "target", "")]
        cells += [
            (
                row.name,
                f"{row.value:g}",
                row.unit,
                "" if row.target is None else f"{row.target:g}",
                "" if row.target is None else "ok" if row.ok else "MISSED",
            )
            for row in self.rows
        ]
        widths = [max(len(line[column]) for line in cells) for column in range(5)]
        return "\n".join(
            "  ".join(
                cell.rjust(width) if column in {1, 3} else cell.ljust(width)
                for column, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in cells
        )

    def finish(self) -> int:
        """Print the table and write the file; 1 when a target was missed."""
        self._folder.mkdir(parents=True, exist_ok=True)
        document = {"benchmark": self._name, "rows": [asdict(row) for row in self.rows]}
        (self._folder / f"{self._name}.json").write_text(json.dumps(document, indent=2) + "\n")
        print(f"{self._name}\n{self.table()}\n")  # noqa: T201  # what a benchmark is for
        return 0 if all(row.ok for row in self.rows) else 1
