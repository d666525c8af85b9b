"""A providers' sandbox that a test runs by itself, with its admin endpoints."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from convergence_sandbox.providers import create_app


@dataclass(frozen=True)
class ProvidersServer:
    """A running sandbox and its admin endpoints."""

    url: str

    def lay(self, *faults: dict[str, Any]) -> None:
        answer = client().post(f"{self.url}/_sandbox/faults", json=list(faults))
        assert answer.status_code == 201, answer.text

    def requests(self) -> list[dict[str, Any]]:
        served: list[dict[str, Any]] = client().get(f"{self.url}/_sandbox/requests").json()
        return served

    def reset(self) -> None:
        client().delete(f"{self.url}/_sandbox/faults")
        client().delete(f"{self.url}/_sandbox/requests")


@cache
def client() -> httpx.Client:
    """One for all: making one loads every certificate authority."""
    return httpx.Client(trust_env=False)


@contextmanager
def running(data_dir: Path) -> Iterator[ProvidersServer]:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    config = uvicorn.Config(create_app(data_dir), log_level="critical", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: server.run(sockets=[listener]), daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield ProvidersServer(f"http://127.0.0.1:{listener.getsockname()[1]}")
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()
