"""Services of a stack: each has a name, a command and an environment."""

from __future__ import annotations

import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Service:
    """One long-running process of a stack; a database `stops_last`, after its clients."""

    name: str
    command: tuple[str, ...]
    env: Mapping[str, str]
    stop_signal: signal.Signals = signal.SIGTERM
    stops_last: bool = False


def python_service(name: str, *arguments: str, env: Mapping[str, str]) -> Service:
    """Return a module that this interpreter runs."""
    return Service(name, (sys.executable, *arguments), env)


def airflow_service(name: str, env: Mapping[str, str], *command: str) -> Service:
    """Return an Airflow component; its command is its name unless given."""
    return python_service(name, "-m", "airflow", *(command or (name,)), env=env)
