"""A private PostgreSQL cluster and SQLite for the tests of the state store."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest

from convergence.state.store import StateStore
from stack import guarded


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    binaries = _postgres_binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL binaries on this machine")
    # Not under pytest's own directory: the server must not run as root, which alone may enter it.
    home = Path(tempfile.mkdtemp(prefix="pg-"))
    prefix = _unprivileged(home)
    data, port = home / "data", _free_port()
    options = ["-p", str(port), "-k", str(home), "-c", "listen_addresses=127.0.0.1"]
    try:
        _run_command(
            [*prefix, str(binaries / "initdb"), "-D", str(data), "-U", "state", "-A", "trust"]
        )
        server = [*prefix, str(binaries / "postgres"), "-D", str(data), *options, "-c", "fsync=off"]
        url = f"postgresql://state@127.0.0.1:{port}/postgres"
        with (
            (home / "log").open("w") as log,
            # SIGQUIT is PostgreSQL's immediate shutdown.
            guarded.GuardedProcess(
                server, cwd=home, stdout=log, stderr=log, stop_signal=signal.SIGQUIT
            ) as process,
        ):
            _wait_for_postgres(url, process=process, log=home / "log")
            yield url
    finally:
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def state_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database that nobody has opened yet."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'new' / 'state.db'}"
    server: str = request.getfixturevalue("postgres_url")
    name = f"state_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    return server.replace("/postgres", f"/{name}")


@pytest.fixture
def store(state_url: str) -> Iterator[StateStore]:
    store = StateStore.connect(state_url)
    yield store
    store.close()


def _postgres_binaries() -> Path | None:
    found = shutil.which("pg_ctl")
    places = [Path(found).resolve().parent] if found else []
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((place for place in places if (place / "initdb").exists()), None)


def _unprivileged(home: Path) -> list[str]:
    if os.geteuid() != 0:
        return []
    shutil.chown(home, user="postgres", group="postgres")
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]


def _wait_for_postgres(url: str, *, process: guarded.GuardedProcess, log: Path) -> None:
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(psycopg.OperationalError):
            psycopg.connect(url, connect_timeout=2).close()
            return
        time.sleep(0.05)
    raise RuntimeError(f"PostgreSQL did not start:\n{log.read_text()}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _run_command(command: list[str]) -> None:
    done = guarded.run(command, cwd=Path("/"), timeout=110)
    assert done.returncode == 0, done.stdout + done.stderr
