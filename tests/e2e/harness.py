"""A real stack as a user starts it, seen from outside: its process, its ports, its HTTP faces."""

from __future__ import annotations

import ipaddress
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest

from stack import guarded
from stack.client import ApiClient

REPOSITORY = Path(__file__).resolve().parents[2]
PORT_VARIABLES = (
    "PORT",
    "SANDBOX_BIGQUERY_PORT",
    "SANDBOX_KMS_PORT",
    "SANDBOX_PROVIDERS_PORT",
    "SANDBOX_AWS_PORT",
    "SANDBOX_SMTP_PORT",
)
CELERY_PORT_VARIABLES = (*PORT_VARIABLES, "SECOND_PORT", "POSTGRES_PORT", "REDIS_PORT")
PRODUCTION_PYTHON = REPOSITORY / ".venv-production" / "bin" / "python"
READY_SECONDS = 300
CELERY_READY_SECONDS = 600
STOP_SECONDS = 20


@dataclass
class RunningStack:
    """A launcher process, where it listens, and the secrets it made."""

    process: guarded.GuardedProcess
    var_dir: Path
    ports: dict[str, int]
    output: Path

    @property
    def secrets(self) -> dict[str, str]:
        kept: dict[str, str] = json.loads((self.var_dir / "secrets" / "stack.json").read_text())
        return kept

    @property
    def airflow_url(self) -> str:
        return f"http://127.0.0.1:{self.ports['PORT']}"

    @property
    def api_url(self) -> str:
        return f"{self.airflow_url}/api/v1"

    @property
    def api_urls(self) -> tuple[str, ...]:
        """Where each API server answers."""
        served = (name for name in ("PORT", "SECOND_PORT") if name in self.ports)
        return tuple(f"http://127.0.0.1:{self.ports[name]}/api/v1" for name in served)

    @property
    def bigquery_url(self) -> str:
        return f"http://127.0.0.1:{self.ports['SANDBOX_BIGQUERY_PORT']}"

    @property
    def providers_url(self) -> str:
        return f"http://127.0.0.1:{self.ports['SANDBOX_PROVIDERS_PORT']}"

    def root(self) -> ApiClient:
        return ApiClient(self.api_url, headers={"X-CA-Root-Key": self.secrets["root_api_key"]})

    def org(self, key: str) -> ApiClient:
        return ApiClient(self.api_url, headers={"X-API-Key": key})

    def airflow(self) -> httpx.Client:
        """Airflow's own REST API as its admin."""
        account = {"username": "admin", "password": self.secrets["admin_password"]}
        token = httpx.post(
            f"{self.airflow_url}/auth/token", json=account, timeout=60, trust_env=False
        )
        bearer = {"Authorization": f"Bearer {token.json()['access_token']}"}
        return httpx.Client(
            base_url=f"{self.airflow_url}/api/v2", headers=bearer, timeout=60, trust_env=False
        )

    def family(self) -> list[psutil.Process]:
        """Every process of the stack, the guardians that end their trees apart."""
        everyone = psutil.Process(self.process.pid).children(recursive=True)
        return [process for process in everyone if not _is_guardian(process)]

    def components(self) -> list[psutil.Process]:
        """The processes that the launcher started."""
        guardians = psutil.Process(self.process.main_pid).children()
        return [component for guardian in guardians for component in guardian.children()]

    def commands(self) -> list[str]:
        """The command line of each process; one that has ended meanwhile has none."""
        lines = []
        for process in self.family():
            with suppress(psutil.NoSuchProcess):
                lines.append(" ".join(process.cmdline()))
        return lines

    def listeners(self) -> dict[str, set[str]]:
        """The addresses on which each process listens, by its command line."""
        found: dict[str, set[str]] = {}
        for process in self.family():
            with suppress(psutil.NoSuchProcess):
                name = f"{process.pid} {' '.join(process.cmdline())[:120]}"
                for each in process.net_connections(kind="inet"):
                    if each.status == psutil.CONN_LISTEN:
                        found.setdefault(name, set()).add(f"{each.laddr.ip}:{each.laddr.port}")
        return found

    def stop(self, *, within: float = STOP_SECONDS + 10) -> float:
        """Send SIGTERM, wait; seconds that it took."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=within)
        return time.monotonic() - began


def _is_guardian(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return str(guarded.GUARDIAN) in process.cmdline()
    return False


def only_loopback(stack: RunningStack) -> None:
    """Check that no process of the stack can be reached from another machine."""
    found = stack.listeners()
    ports = {int(each.rpartition(":")[2]) for where in found.values() for each in where}
    assert set(stack.ports.values()) <= ports, f"of {stack.ports} only {ports} are served"
    open_to_all = {
        name: where
        for name, where in found.items()
        if not all(_is_loopback(each.rpartition(":")[0]) for each in where)
    }
    assert open_to_all == {}, f"open to other machines: {open_to_all}"


def _is_loopback(address: str) -> bool:
    """Whether an address is this machine's alone; gRPC listens on `::ffff:127.0.0.1`."""
    parsed = ipaddress.ip_address(address)
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return (mapped or parsed).is_loopback


def free_ports(number: int) -> list[int]:
    """Ports that were free a moment ago, all different."""
    with ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(number)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def start_stack(
    var_dir: Path,
    *,
    ports: dict[str, int] | None = None,
    celery: bool = False,
    extra: dict[str, str] | None = None,
    schedule: bool = True,
) -> RunningStack:
    """Run `make up`'s command, or `make up-celery`'s, and wait for its ready line.

    Without `schedule` Airflow starts no run by itself.
    """
    names = CELERY_PORT_VARIABLES if celery else PORT_VARIABLES
    if ports is None:
        ports = dict(zip(names, free_ports(len(names)), strict=True))
    python = str(PRODUCTION_PYTHON) if celery else sys.executable
    command = [python, "-m", "stack", "up", *(["--celery"] if celery else [])]
    if not schedule:
        command = [python, str(Path(__file__).with_name("quiet_stack.py"))]
    output = var_dir.parent / f"{var_dir.name}-up.log"
    env = os.environ | {name: str(port) for name, port in ports.items()}
    env |= {"CONVERGENCE_VAR_DIR": str(var_dir), "PYTHONPATH": "plugins:tools:sandbox/src"}
    env |= extra or {}
    with output.open("w") as file:
        process = guarded.GuardedProcess(
            command,
            cwd=REPOSITORY,
            env=env,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    stack = RunningStack(process, var_dir, ports, output)
    deadline = time.monotonic() + (CELERY_READY_SECONDS if celery else READY_SECONDS)
    while not re.search(r"^ready$", output.read_text(), re.MULTILINE):
        if process.poll() is not None or time.monotonic() > deadline:
            # Asked, not killed: the launcher stops what it has started.
            process.terminate()
            process.wait(timeout=STOP_SECONDS + 60)
            pytest.fail(f"the stack did not start:\n{output.read_text()}")
        time.sleep(0.3)
    return stack
