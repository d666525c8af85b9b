"""A sandbox of one's own, as a process: started on free ports, killed or stopped at will."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import httpx

from stack import guarded

SOURCES = Path(__file__).resolve().parents[2] / "sandbox" / "src"
START_SECONDS = 30.0


class SandboxProcess:
    """One sandbox on a data directory; may be started again on the same one.

    Attributes:
        bigquery: URL of the BigQuery stand-in, once started.
        kms: `host:port` of Cloud KMS.
        providers: URL of the providers.
        aws: URL of AWS.
        smtp: `host:port` of the mail server.
        start_seconds: how long the last start took, to the ready line.
    """

    def __init__(self, data_dir: Path, *, environment: Mapping[str, str] | None = None) -> None:
        self._data_dir = data_dir
        self._environment = dict(environment or {})
        self._process: guarded.GuardedProcess | None = None
        self._ports = {"BIGQUERY": "0", "KMS": "0", "PROVIDERS": "0", "AWS": "0", "SMTP": "0"}
        self.bigquery = self.kms = self.providers = self.aws = self.smtp = ""
        self.start_seconds = 0.0

    @property
    def pid(self) -> int:
        """The process id."""
        return self._running().main_pid

    def start(self) -> None:
        """Start it and wait for its ready line; a second start takes the same ports."""
        self._data_dir.mkdir(parents=True, exist_ok=True)
        began = time.monotonic()
        with self.log.open("ab") as log:
            self._process = guarded.GuardedProcess(
                [sys.executable, "-m", "convergence_sandbox"],
                env=self._variables(),
                stdout=subprocess.PIPE,
                stderr=log,
            )
        line = _stdout(self._process).readline()
        self.start_seconds = time.monotonic() - began
        if not line:
            self.kill()
            raise RuntimeError(f"the sandbox did not start:\n{self.log.read_text()}")
        ready = json.loads(line)
        self.bigquery, self.kms = ready["bigquery"], ready["kms"]
        self.providers, self.aws = ready["providers"], ready["aws"]
        self.smtp = ready["smtp"]
        self._ports = {
            "BIGQUERY": self.bigquery.rpartition(":")[2],
            "KMS": self.kms.rpartition(":")[2],
            "PROVIDERS": self.providers.rpartition(":")[2],
            "AWS": self.aws.rpartition(":")[2],
            "SMTP": self.smtp.rpartition(":")[2],
        }

    @property
    def log(self) -> Path:
        """What it wrote to stderr."""
        return self._data_dir / "sandbox.log"

    def stop(self) -> int:
        """SIGTERM; answers its exit status."""
        return self._end(signal.SIGTERM)

    def kill(self) -> int:
        """SIGKILL, as a crash would have it."""
        return self._end(signal.SIGKILL)

    def wait(self) -> None:
        """Wait until it ends by itself."""
        self._running().wait(timeout=10)

    def admin(self, method: str, path: str, body: object = None) -> httpx.Response:
        """A call to the BigQuery stand-in's own switches, `/_sandbox/…`."""
        url = f"{self.bigquery}/_sandbox/{path}"
        return httpx.request(method, url, json=body, timeout=10).raise_for_status()

    def _end(self, number: signal.Signals) -> int:
        process = self._running()
        if process.poll() is None:
            process.send_signal(number)
        status = process.wait(timeout=10)
        _stdout(process).close()
        self._process = None
        return status

    def _running(self) -> guarded.GuardedProcess:
        if self._process is None:
            raise RuntimeError("the sandbox is not running")
        return self._process

    def _variables(self) -> dict[str, str]:
        ports = {f"SANDBOX_{name}_PORT": port for name, port in self._ports.items()}
        own = {"PYTHONPATH": str(SOURCES), "SANDBOX_DATA_DIR": str(self._data_dir)}
        return {**os.environ, **own, **ports, **self._environment}


def _stdout(process: guarded.GuardedProcess) -> IO[str]:
    assert process.stdout is not None
    return process.stdout
