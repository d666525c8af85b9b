"""An app on a port of its own, for clients that speak real HTTP."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import uvicorn
from starlette.types import ASGIApp

from convergence.api.app import PREFIX
from convergence.api.standalone import create_standalone
from support.api.residents import Resident, connect_services, create_residents
from support.sandbox_process import SandboxProcess

_READY_SECONDS = 20.0


@dataclass(frozen=True)
class Served:
    """Where the app answers, `/api/v1` included, and who lives in it."""

    url: str
    residents: tuple[Resident, Resident]


@contextmanager
def served(folder: Path) -> Iterator[Served]:
    """The app alone on a sandbox of its own, inhabited."""
    sandbox = SandboxProcess(folder / "sandbox")
    sandbox.start()
    try:
        env, services = connect_services(sandbox, folder / "var", project="served-project")
        with listening(create_standalone(services=services)) as base_url:
            url = f"{base_url}{PREFIX}"
            with httpx.Client(base_url=url, timeout=60.0, trust_env=False) as client:
                residents = create_residents(client, env)
            yield Served(url, residents)
        env.services.store.close()
    finally:
        sandbox.stop()


@contextmanager
def listening(app: ASGIApp) -> Iterator[str]:
    """Serve an app on a free port of this machine from a thread; its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    config = uvicorn.Config(app, host="127.0.0.1", port=port, log_config=None, access_log=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        give_up = time.monotonic() + _READY_SECONDS
        while not server.started:
            assert time.monotonic() < give_up, "the app did not start"
            time.sleep(0.02)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(timeout=_READY_SECONDS)
