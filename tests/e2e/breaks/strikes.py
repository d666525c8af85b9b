"""Ways to break a running Celery stack, each as the real world does it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Literal

import psutil
import redis

from e2e.harness import RunningStack

AWAY_SECONDS = 10.0
_FIND_SECONDS = 60.0
_QUEUE = "default"

Moment = Literal["mid-run", "between tasks", "before the run"]


@dataclass(frozen=True)
class Break:
    """One break.

    Attributes:
        name: as the table and the command line have it.
        moment: when it happens in the life of the run.
        strike: breaks the stack; with `before the run` it also starts the run that it is given.
    """

    name: str
    moment: Moment
    strike: Callable[[RunningStack, Callable[[], None]], None]


def kill_tree(process: psutil.Process) -> None:
    """Kill a process and all that it started at once, as the kernel does without memory."""
    with suppress(psutil.NoSuchProcess):
        # Stopped first, so that no parent replaces a child that has just been killed.
        process.send_signal(signal.SIGSTOP)
        for each in [*process.children(recursive=True), process]:
            with suppress(psutil.NoSuchProcess):
                each.kill()


def component(stack: RunningStack, *words: str, port: int | None = None) -> psutil.Process:
    """Find a component by the words of its command line, and an API server by its port."""
    deadline = time.monotonic() + _FIND_SECONDS
    while True:
        for process in psutil.Process(stack.process.pid).children():
            with suppress(psutil.NoSuchProcess):
                line = process.cmdline()
                if set(words) <= set(line) and (port is None or _port(process) == port):
                    return process
        if time.monotonic() > deadline:
            raise LookupError(f"no process has {' '.join(words)} on its command line")
        time.sleep(0.2)


def _port(process: psutil.Process) -> int:
    return int(process.environ().get("AIRFLOW__API__PORT", "0"))


def _postgres(stack: RunningStack) -> psutil.Process:
    for process in psutil.Process(stack.process.pid).children():
        with suppress(psutil.NoSuchProcess):
            if process.cmdline()[:1] and process.cmdline()[0].endswith("postgres"):
                return process
    raise LookupError("PostgreSQL does not run")


def _redis(stack: RunningStack) -> psutil.Process:
    for process in psutil.Process(stack.process.pid).children():
        with suppress(psutil.NoSuchProcess):
            if "redis-server" in process.name():
                return process
    raise LookupError("Redis does not run")


@contextmanager
def _launcher_stopped(stack: RunningStack) -> Iterator[None]:
    """Keep the launcher from starting again what is broken."""
    os.kill(stack.process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(stack.process.pid, signal.SIGCONT)


def _kill(*words: str, server: str | None = None) -> Callable[..., None]:
    def strike(stack: RunningStack, _start: Callable[[], None]) -> None:
        port = stack.ports[server] if server else None
        kill_tree(component(stack, *words, port=port))

    return strike


def _postgres_away(stack: RunningStack, _start: Callable[[], None]) -> None:
    with _launcher_stopped(stack):
        _postgres(stack).send_signal(signal.SIGINT)  # the fast shutdown: clients are cut off
        time.sleep(AWAY_SECONDS)


def _redis_restarted(stack: RunningStack, _start: Callable[[], None]) -> None:
    _redis(stack).terminate()


def _broker_flushed(stack: RunningStack, start: Callable[[], None]) -> None:
    """Flush the broker while the run's first task waits in it, for no worker is there."""
    with _launcher_stopped(stack):
        kill_tree(component(stack, "celery", "worker"))
        start()
        client = redis.Redis(
            port=stack.ports["REDIS_PORT"], password=stack.secrets["redis_password"]
        )
        with client:
            deadline = time.monotonic() + _FIND_SECONDS
            while client.llen(_QUEUE) == 0:
                if time.monotonic() > deadline:
                    raise TimeoutError("no task waits in the broker")
                time.sleep(0.2)
            client.flushall()


BREAKS = (
    Break("worker", "mid-run", _kill("celery", "worker")),
    Break("worker-between-tasks", "between tasks", _kill("celery", "worker")),
    Break("broker-flushed", "before the run", _broker_flushed),
    Break("redis-restarted", "mid-run", _redis_restarted),
    Break("scheduler", "mid-run", _kill("scheduler")),
    Break("api-server-a", "mid-run", _kill("api-server", server="PORT")),
    Break("api-server-b", "mid-run", _kill("api-server", server="SECOND_PORT")),
    Break("dag-processor", "mid-run", _kill("dag-processor")),
    Break("triggerer", "mid-run", _kill("triggerer")),
    Break("postgres-away", "mid-run", _postgres_away),
)
