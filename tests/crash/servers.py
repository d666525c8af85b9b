"""The sandbox and the provider as processes of a lane: killed and started again at will."""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx

from crash.processes import Child, Pipe, fork

START_SECONDS = 60
PORTS = ("BIGQUERY", "KMS", "PROVIDERS", "AWS", "SMTP")


class ServerProcess:
    """A forked server that prints where it listens, as a JSON line on its standard output."""

    def __init__(self, serve: Callable[[], None], log: Path) -> None:
        self._serve = serve
        self._log = log
        self._child: Child | None = None
        self.ready: Mapping[str, Any] = {}

    def start(self) -> None:
        """Start and wait for the ready line."""
        self._log.parent.mkdir(parents=True, exist_ok=True)

        def main(pipe: Pipe) -> None:
            os.dup2(pipe.fileno(), sys.stdout.fileno())
            with self._log.open("ab") as log:
                os.dup2(log.fileno(), sys.stderr.fileno())
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_DFL)
            self._serve()

        self._child = fork(main)
        limit = time.monotonic() + START_SECONDS
        while not self._child.messages:
            select.select([self._child.descriptor], [], [], 0.05)
            self._child.poll()
            if self._child.status is not None or time.monotonic() > limit:
                raise RuntimeError(f"A server did not start; see {self._log}")
        self.ready = self._child.messages[0]

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        if self._child is None:
            return False
        self._child.poll()
        return self._child.status is None

    def kill(self) -> None:
        """SIGKILL."""
        if self._child is not None:
            self._child.end()


class Sandbox(ServerProcess):
    """The sandbox, forked from a process that has imported it: a restart takes no second."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        super().__init__(self._main, data_dir / "sandbox.log")

    @property
    def bigquery(self) -> str:
        """URL of the BigQuery stand-in."""
        return str(self.ready["bigquery"])

    def admin(self, method: str, path: str, body: object = None) -> None:
        """A call to the stand-in's own switches, `/_sandbox/…`."""
        url = f"{self.bigquery}/_sandbox/{path}"
        httpx.request(method, url, json=body, timeout=10).raise_for_status()

    def _main(self) -> None:
        from convergence_sandbox.__main__ import main

        # Started again on the ports that it had.
        known = {
            "BIGQUERY": self.ready.get("bigquery"),
            "KMS": self.ready.get("kms"),
            "PROVIDERS": self.ready.get("providers"),
            "AWS": self.ready.get("aws"),
            "SMTP": self.ready.get("smtp"),
        }
        os.environ |= {
            f"SANDBOX_{name}_PORT": str(address).rpartition(":")[2] if address else "0"
            for name, address in known.items()
        } | {"SANDBOX_DATA_DIR": str(self._data_dir)}
        os._exit(main())


class Provider(ServerProcess):
    """The sandbox's OpenAI; it returns the figures of the version that is set for an org."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        super().__init__(self._main, data_dir / "provider.log")

    @property
    def url(self) -> str:
        """Base URL of the provider's API."""
        return f"{self.ready['url']}/openai/v1"

    def set_version(self, org_slug: str, version: str) -> None:
        """From now on the org's usage is that of a version."""
        url = f"{self.ready['url']}/_crash/{org_slug}/{version}"
        httpx.post(url, timeout=10).raise_for_status()

    def _main(self) -> None:
        from crash.provider import serve

        serve(self._data_dir)
