"""CPU seconds of families of processes, from the kernel's own accounting in /proc.

The kernel adds the CPU time of an ended child to its parent once the parent has waited for it.
So a process' own time, plus that of the children it has waited for, plus the same of each child
that lives, is the time of all that it ever started: short tasks are counted, none is sampled.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass

import psutil


@dataclass(frozen=True)
class CpuTime:
    """CPU seconds, user and system, of a process.

    Attributes:
        own: of the process itself.
        ended: of its descendants that have ended and were waited for.
    """

    own: float
    ended: float

    @property
    def total(self) -> float:
        """Both."""
        return self.own + self.ended


def cpu_time(process: psutil.Process) -> CpuTime:
    """Return the CPU time that one process and its ended descendants have used so far."""
    with suppress(psutil.NoSuchProcess):
        times = process.cpu_times()
        return CpuTime(times.user + times.system, times.children_user + times.children_system)
    return CpuTime(0.0, 0.0)


def family_seconds(process: psutil.Process) -> float:
    """Return the CPU seconds of a process and of everything it has started so far."""
    family = [process]
    with suppress(psutil.NoSuchProcess):
        family += process.children(recursive=True)
    return sum(cpu_time(one).total for one in family)


def seconds_by_name(components: Mapping[str, psutil.Process]) -> dict[str, float]:
    """Return the CPU seconds of each named component's family so far."""
    return {name: family_seconds(process) for name, process in components.items()}


def executor_workers(scheduler: psutil.Process) -> list[psutil.Process]:
    """Return the worker processes that a scheduler's LocalExecutor has forked."""
    return [one for one in scheduler.children() if _is_worker(one)]


def workers_time(workers: Iterable[psutil.Process]) -> CpuTime:
    """Return the CPU time of the workers (`own`) and of the tasks they have run (`ended`)."""
    times = [cpu_time(one) for one in workers]
    return CpuTime(sum(one.own for one in times), sum(one.ended for one in times))


def _is_worker(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return "airflow worker" in " ".join(process.cmdline())
    return False
