"""Find a free port, and wait until a server listens on it."""

from __future__ import annotations

import socket
import time
from contextlib import suppress

import httpx

READY_SECONDS = 30.0


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def wait_for(url: str, *, seconds: float = READY_SECONDS) -> None:
    give_up = time.monotonic() + seconds
    while time.monotonic() < give_up:
        with suppress(httpx.HTTPError):
            if httpx.get(url, timeout=1.0).status_code == 200:
                return
        time.sleep(0.1)
    raise TimeoutError(url)
