"""Ways to break a running Celery stack, each as the real world does it."""

from __future__ import annotations

import base64
import json
import os
import re
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
DAG = "openai.cost.usage_cost"

# As the processes call themselves once they have started.
WORKER = r"celery worker"
SERVER = r"airflow api.server .*port:{port}\b"
POSTGRES = r"^\S*/postgres -D "
REDIS = r"redis-server"

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


def find_component(stack: RunningStack, pattern: str) -> psutil.Process:
    """Find the topmost process of the stack whose command line, or title, matches."""
    deadline = time.monotonic() + _FIND_SECONDS
    while True:
        found = {each.pid: each for each in stack.family() if _matches(each, pattern)}
        for process in found.values():
            with suppress(psutil.NoSuchProcess):
                if process.ppid() not in found:
                    return process
        if time.monotonic() > deadline:
            raise LookupError(f"no process of the stack matches {pattern}")
        time.sleep(0.2)


def _matches(process: psutil.Process, pattern: str) -> bool:
    with suppress(psutil.NoSuchProcess):
        return re.search(pattern, " ".join(process.cmdline())) is not None
    return False


@contextmanager
def launcher_stopped(stack: RunningStack) -> Iterator[None]:
    """Keep the launcher from starting again what is broken."""
    os.kill(stack.process.main_pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(stack.process.main_pid, signal.SIGCONT)


def _kill(pattern: str, *, server: str = "") -> Callable[..., None]:
    def strike(stack: RunningStack, _start: Callable[[], None]) -> None:
        port = str(stack.ports[server]) if server else ""
        kill_tree(find_component(stack, pattern.format(port=port)))

    return strike


def _postgres_away(stack: RunningStack, _start: Callable[[], None]) -> None:
    with launcher_stopped(stack):
        find_component(stack, POSTGRES).send_signal(
            signal.SIGINT
        )  # the fast shutdown: clients are cut off
        time.sleep(AWAY_SECONDS)


def _redis_restarted(stack: RunningStack, _start: Callable[[], None]) -> None:
    find_component(stack, REDIS).terminate()


def _broker_flushed(stack: RunningStack, start: Callable[[], None]) -> None:
    """Flush the broker while the run's first task waits in it, for no worker is there."""
    with launcher_stopped(stack):
        kill_tree(find_component(stack, WORKER))
        start()
        client = redis.Redis(
            port=stack.ports["REDIS_PORT"], password=stack.secrets["redis_password"]
        )
        with client:
            deadline = time.monotonic() + _FIND_SECONDS
            while not any(_is_of_run(each) for each in client.lrange(_QUEUE, 0, -1)):
                if time.monotonic() > deadline:
                    raise TimeoutError("no task waits in the broker")
                time.sleep(0.2)
            client.flushall()


def _is_of_run(message: bytes | str) -> bool:
    """Whether a message is a task of the run, and not of the minute task."""
    return DAG.encode() in base64.b64decode(json.loads(message)["body"])


BREAKS = (
    Break("worker", "mid-run", _kill(WORKER)),
    Break("worker-between-tasks", "between tasks", _kill(WORKER)),
    Break("broker-flushed", "before the run", _broker_flushed),
    Break("redis-restarted", "mid-run", _redis_restarted),
    Break("scheduler", "mid-run", _kill(r"airflow scheduler")),
    Break("api-server-a", "mid-run", _kill(SERVER, server="PORT")),
    Break("api-server-b", "mid-run", _kill(SERVER, server="SECOND_PORT")),
    Break("dag-processor", "mid-run", _kill(r"airflow dag.processor")),
    Break("triggerer", "mid-run", _kill(r"airflow triggerer")),
    Break("postgres-away", "mid-run", _postgres_away),
)
