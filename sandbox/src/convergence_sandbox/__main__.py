"""Serve BigQuery, the LLM providers, AWS, Cloud KMS and a mail server on loopback.

One process. Prints one JSON line when all of them accept requests, and stops on SIGTERM or SIGINT
within seconds. A kill loses nothing that was acknowledged.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import IO, NoReturn

import uvicorn
from starlette.types import ASGIApp

from convergence_sandbox.settings import SandboxSettings, SandboxSettingsError

BACKLOG = 512
GRACE_SECONDS = 2
EXIT_CONFIG = 2


class StartError(Exception):
    """Raised when the sandbox can't start, saying what stands in its way."""


class _Server(uvicorn.Server):
    """uvicorn without its own signal handlers: this process stops several servers at once."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def main() -> int:
    """Run until a signal stops it; return 2 when it can't start."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    try:
        settings = SandboxSettings.from_environment()
        with _only_one(settings.data_dir):
            asyncio.run(_serve(settings))
    except (SandboxSettingsError, StartError) as exc:
        print(f"sandbox: {exc}", file=sys.stderr)
        return EXIT_CONFIG
    return 0


@contextmanager
def _only_one(data_dir: Path) -> Iterator[None]:
    """Hold the data directory; the kernel lets go of it when the process ends, however it does."""
    data_dir.mkdir(parents=True, exist_ok=True)
    with (data_dir / "sandbox.lock").open("w") as file:
        _lock(file, data_dir)
        yield


def _lock(file: IO[str], data_dir: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        raise StartError(f"another sandbox is using {data_dir}") from exc


async def _serve(settings: SandboxSettings) -> None:
    bigquery_socket = _listen(settings.host, settings.bigquery_port, "SANDBOX_BIGQUERY_PORT")
    providers_socket = _listen(settings.host, settings.providers_port, "SANDBOX_PROVIDERS_PORT")
    aws_socket = _listen(settings.host, settings.aws_port, "SANDBOX_AWS_PORT")
    smtp_socket = _listen(settings.host, settings.smtp_port, "SANDBOX_SMTP_PORT")
    # Imported once the ports are ours: a busy port is reported at once.
    from convergence_sandbox import kms, mail
    from convergence_sandbox.aws.server import AwsServer
    from convergence_sandbox.bigquery.rest.app import BigQueryApp, Options
    from convergence_sandbox.bigquery.rest.limits import LimitSettings
    from convergence_sandbox.providers.app import create_app
    from convergence_sandbox.providers.bills.parameter import InvalidEffectError
    from convergence_sandbox.providers.clock import Clock

    try:
        providers = create_app(settings.data_dir / "providers", bill_effects=settings.bill_effects)
    except InvalidEffectError as exc:
        raise StartError(f"SANDBOX_BILL_EFFECTS can't be used: {exc}") from exc
    limits = LimitSettings(settings.dml_queue, settings.load_jobs_per_table_day)
    bigquery = BigQueryApp(
        settings.data_dir / "bigquery",
        options=Options(
            limits,
            response_seconds=settings.job_response_seconds,
            streaming_buffer=settings.streaming_buffer,
        ),
    )
    kms_port = settings.kms_port or _free_port(settings.host)
    kms_address = f"{settings.host}:{kms_port}"
    try:
        kms_server = kms.serve(
            kms_address, settings.data_dir / "kms", services=[bigquery.storage_read]
        )
    except RuntimeError as exc:
        raise StartError(f"SANDBOX_KMS_PORT={settings.kms_port} can't be used: {exc}") from exc
    servers = {_server(bigquery): bigquery_socket, _server(providers): providers_socket}
    mail_server = await mail.serve(smtp_socket, providers.state.mail)
    aws = AwsServer(aws_socket, Clock(settings.data_dir / "providers" / "provider_clock"))
    aws.start()
    _stop_on_signal(servers)
    urls = {
        "bigquery": _url(bigquery_socket),
        "kms": kms_address,
        "providers": _url(providers_socket),
        "aws": _url(aws_socket),
        "smtp": _url(smtp_socket).removeprefix("http://"),
    }
    ready = asyncio.create_task(_announce(list(servers), urls))
    await asyncio.gather(*(one.serve(sockets=[line]) for one, line in servers.items()))
    ready.cancel()
    kms_server.stop(grace=0)
    aws.stop()
    mail_server.close()
    bigquery.close()


def _listen(host: str, port: int, variable: str) -> socket.socket:
    """Return a bound and listening socket.

    Raises:
        StartError: the port is taken; names the variable that sets it.
    """
    # asyncio switches Nagle's delay off only where the protocol is named: 40 ms per response.
    line = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    line.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        line.bind((host, port))
        line.listen(BACKLOG)
    except OSError as exc:
        line.close()
        raise StartError(f"{variable}={port} can't be used on {host}: {exc.strerror}") from exc
    return line


def _free_port(host: str) -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as line:
        line.bind((host, 0))
        return int(line.getsockname()[1])


def _server(app: ASGIApp) -> _Server:
    return _Server(
        uvicorn.Config(
            app,
            access_log=False,
            backlog=BACKLOG,
            lifespan="off",
            log_config=None,
            timeout_graceful_shutdown=GRACE_SECONDS,
            timeout_keep_alive=600,
        )
    )


def _stop_on_signal(servers: dict[_Server, socket.socket]) -> None:
    def stop(_number: int, _frame: FrameType | None) -> None:
        for server in servers:
            server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)


async def _announce(servers: list[_Server], urls: dict[str, str]) -> None:
    """Print the ready line once every server has started."""
    for server in servers:
        await server.ready.wait()
    print(json.dumps({"ready": True, **urls}), flush=True)


def _url(line: socket.socket) -> str:
    host, port = line.getsockname()[:2]
    return f"http://{host}:{port}"


def run_command() -> NoReturn:
    """Run the command `convergence-sandbox` and end the process."""
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # A job that is cut off must not keep the process: it runs again at the next start.
    os._exit(status)


if __name__ == "__main__":
    run_command()
