"""PostgreSQL and Redis as services of a stack, from the binaries of this machine."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path

import psycopg
import redis
from psycopg import sql

from stack.environment import base_environment
from stack.errors import StackError
from stack.guarded import run
from stack.secrets import LocalSecrets, write_private
from stack.service import Service
from stack.settings import LOOPBACK, CeleryStackSettings

ROLE = "convergence"
AIRFLOW_DATABASE = "airflow"
STATE_DATABASE = "convergence"
ACCOUNT_SECONDS = 10
INIT_SECONDS = 120


def database_url(settings: CeleryStackSettings, secrets: LocalSecrets, database: str) -> str:
    """URL of one database of the stack's server, without a driver: `postgresql://…`."""
    account = f"{ROLE}:{secrets.database_password}"
    return f"postgresql://{account}@{LOOPBACK}:{settings.postgres_port}/{database}"


def redis_url(settings: CeleryStackSettings, secrets: LocalSecrets, number: int) -> str:
    """URL of one numbered database of the stack's Redis."""
    return f"redis://:{secrets.redis_password}@{LOOPBACK}:{settings.redis_port}/{number}"


def postgres_service(settings: CeleryStackSettings, secrets: LocalSecrets) -> Service:
    """PostgreSQL on a cluster under `var_dir`, which is made at the first start.

    The server rejects to run as root: then the cluster belongs to the machine's `postgres`.

    Raises:
        StackError: there is no PostgreSQL here, its user can't reach the directory, or the cluster
            can't be made.
    """
    binaries, home = _postgres_binaries(), settings.var_dir / "postgres"
    home.mkdir(parents=True, exist_ok=True)
    prefix = _unprivileged(home)
    if not (home / "data" / "PG_VERSION").is_file():
        _init(binaries, home, prefix=prefix, secrets=secrets)
    options = {
        "listen_addresses": LOOPBACK,
        "port": str(settings.postgres_port),
        "unix_socket_directories": "",
        "max_connections": "200",
    }
    knobs = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
    command = (*prefix, str(binaries / "postgres"), "-D", str(home / "data"), *knobs)
    # SIGINT is PostgreSQL's fast shutdown; SIGTERM would wait for every client to leave.
    return Service(
        "postgres", command, base_environment(), stop_signal=signal.SIGINT, stops_last=True
    )


def redis_service(
    settings: CeleryStackSettings,
    secrets: LocalSecrets,
    *,
    find: Callable[[str], str | None] = shutil.which,
) -> Service:
    """Redis with its password in a file, not on its command line.

    Raises:
        StackError: there is no Redis here.
    """
    binary = find("redis-server")
    if binary is None:
        raise StackError("redis-server is missing; on Debian: apt-get install redis-server")
    home = settings.var_dir / "redis"
    home.mkdir(parents=True, exist_ok=True)
    lines = {
        "bind": LOOPBACK,
        "port": str(settings.redis_port),
        "dir": str(home),
        "appendonly": "yes",
        "requirepass": secrets.redis_password,
    }
    text = "".join(f"{name} {value}\n" for name, value in lines.items())
    write_private(home / "redis.conf", text)
    return Service("redis", (binary, str(home / "redis.conf")), base_environment(), stops_last=True)


def databases_response(settings: CeleryStackSettings, secrets: LocalSecrets) -> bool:
    """Return whether both servers take our password; makes the two databases when they do."""
    try:
        _make_databases(database_url(settings, secrets, "postgres"))
        client = redis.Redis.from_url(redis_url(settings, secrets, 0))
        with client:
            client.ping()
    except (psycopg.OperationalError, redis.ConnectionError):
        return False
    return True


def _make_databases(url: str) -> None:
    with psycopg.connect(url, autocommit=True, connect_timeout=3) as connection:
        found = {row[0] for row in connection.execute("SELECT datname FROM pg_database")}
        for name in (AIRFLOW_DATABASE, STATE_DATABASE):
            if name not in found:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))


def _postgres_binaries() -> Path:
    found = shutil.which("pg_ctl")
    places = [Path(found).resolve().parent] if found else []
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for place in places:
        if (place / "initdb").exists():
            return place
    raise StackError("PostgreSQL is missing; on Debian: apt-get install postgresql")


def _unprivileged(home: Path) -> list[str]:
    if os.geteuid() != 0:
        return []
    shutil.chown(home, user="postgres", group="postgres")
    account = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    reaches = run([*account, "test", "-x", str(home)], timeout=ACCOUNT_SECONDS)
    if reaches.returncode != 0:
        raise StackError(
            f"the user postgres can't enter {home}; set CONVERGENCE_VAR_DIR to a place it can"
        )
    # A change of user drops the signal at the guardian's death; this renews it.
    return [*account, "--pdeathsig=INT"]


def _init(binaries: Path, home: Path, *, prefix: list[str], secrets: LocalSecrets) -> None:
    with tempfile.NamedTemporaryFile("w", suffix=".pw") as password:
        password.write(secrets.database_password)
        password.flush()
        if prefix:
            shutil.chown(password.name, user="postgres")
        made = run(
            [
                *prefix, str(binaries / "initdb"), "-D", str(home / "data"), "-U", ROLE,
                "-A", "scram-sha-256", f"--pwfile={password.name}", "-E", "UTF8", "--locale=C",
            ],
            cwd=home,
            env=base_environment(),
            timeout=INIT_SECONDS,
        )  # fmt: skip
    if made.returncode != 0:
        raise StackError(f"initdb failed: {made.stderr.strip()[-400:]}")
