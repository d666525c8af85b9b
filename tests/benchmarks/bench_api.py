"""What the API itself costs: a request's authentication, and a key's lookup among many.

PYTHONPATH=plugins:tools:sandbox/src:tests python tests/benchmarks/bench_api.py
"""

from __future__ import annotations

import asyncio
import json
import logging
import statistics
import sys
import tempfile
from collections.abc import MutableMapping
from io import BytesIO
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.responses import JSONResponse
from google.cloud import bigquery

from benchmarks.report import Report, cpu_seconds, stopwatch
from convergence.api.app import create_app
from convergence.api.http.routing import guarded_router
from convergence.api.http.scopes import Scope, list_org_scopes, require_scope
from convergence.security.keys import compute_digest
from convergence.tenants.api_keys.authentication import Authenticator
from support.api.airflow_double import AirflowDouble
from support.api.env import ACME, ACME_KEY, ApiEnv, InMemoryServices, make_settings
from support.api.in_memory import InMemoryAuthenticator, InMemoryGate, InMemoryLedger
from support.processor_env import ProcessorEnv, connect_env
from support.sandbox_process import SandboxProcess

REQUESTS = 2_000
ROUNDS = 7
NOOP = f"/noop/{ACME}"
FEW, MANY = 100, 100_000
LOOKUPS = 100


def main() -> int:
    """Measure all and print the table."""
    logging.disable(logging.INFO)
    report = Report("api")
    with tempfile.TemporaryDirectory(prefix="bench-api-") as folder:
        authentication(Path(folder), report)
        lookups(Path(folder), report)
    return report.finish()


def authentication(folder: Path, report: Report) -> None:
    """CPU of a route that does nothing, with a key and open, each by itself and in turn."""
    env = ApiEnv(AirflowDouble(), InMemoryAuthenticator(), InMemoryGate(), InMemoryLedger())
    env.authenticator.add(ACME_KEY, ACME, scopes=list_org_scopes())
    app = create_app(services=InMemoryServices(make_settings(folder), env))
    app.include_router(_noop_router())
    calls = {
        "closed": _request(NOOP, key=ACME_KEY),
        "open": _request(NOOP.replace("noop", "open")),
    }
    seconds: dict[str, list[float]] = {name: [] for name in calls}

    async def measure() -> None:
        for _ in range(ROUNDS):
            for name, scope in calls.items():
                seconds[name].append(await _cpu_of(app, scope))

    asyncio.run(measure())
    used = {name: min(rounds) / REQUESTS * 1e6 for name, rounds in seconds.items()}
    report.add("open no-op request", used["open"], "CPU-µs")
    report.add("the same with an org key", used["closed"], "CPU-µs")
    report.add("their ratio", used["closed"] / used["open"], "x", target=2.0)
    # A key is looked up again when what is remembered of it is 45 s old.
    asked = env.authenticator.lookups / (REQUESTS * ROUNDS)
    report.add("warehouse lookups per warm request", asked, "", target=0.001)


def _noop_router() -> APIRouter:
    router = guarded_router(tag="bench")

    async def noop(org: str) -> JSONResponse:
        """Do nothing."""
        return JSONResponse({"org": org})

    async def opened(org: str) -> JSONResponse:
        """Do nothing, for anyone."""
        return JSONResponse({"org": org})

    router.get("/noop/{org}")(require_scope(Scope.PIPELINES_READ)(noop))
    router.get("/open/{org}")(require_scope(Scope.PUBLIC)(opened))
    return router


def _request(path: str, *, key: str | None = None) -> dict[str, Any]:
    """An ASGI scope, as a server makes it."""
    headers = [(b"host", b"bench"), (b"accept", b"application/json")]
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": headers + ([(b"x-api-key", key.encode())] if key else []),
        "client": ("127.0.0.1", 50000),
        "server": ("bench", 80),
    }


async def _cpu_of(app: FastAPI, scope: dict[str, Any]) -> float:
    """CPU seconds of this process for `REQUESTS` requests, one after the other."""
    statuses: set[int] = set()

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            statuses.add(message["status"])

    began = cpu_seconds()
    for _ in range(REQUESTS):
        await app({**scope, "headers": list(scope["headers"])}, receive, send)
    used = cpu_seconds() - began
    assert statuses == {200}, statuses
    return used


def lookups(folder: Path, report: Report) -> None:
    """Time of a key that nothing remembers yet, among few and among many, in turn."""
    sandbox = SandboxProcess(folder / "sandbox")
    sandbox.start()
    try:
        platforms = {number: _with_keys(sandbox, folder, number) for number in (FEW, MANY)}
        took: dict[int, list[float]] = {number: [] for number in platforms}
        for step in range(LOOKUPS):
            for number, authenticator in platforms.items():
                with stopwatch() as watch:
                    authenticator.authenticate(_key(step))
                took[number].append(watch.wall)
    finally:
        sandbox.stop()
    middle = {number: statistics.median(values) * 1000 for number, values in took.items()}
    for number, value in middle.items():
        report.add(f"first lookup of a key, {number} stored, p50", value, "ms")
    report.add("their ratio", middle[MANY] / middle[FEW], "x", target=1.5)


def _with_keys(sandbox: SandboxProcess, folder: Path, number: int) -> Authenticator:
    platform: ProcessorEnv = connect_env(
        sandbox, folder / f"var-{number}", project=f"keys-{number}"
    )
    platform.bootstrap()
    rows = (
        {
            "org_slug": ACME,
            "key_id": f"key_{step:016x}",
            "key_hash": compute_digest(_key(step)),
            "scopes": list(list_org_scopes()),
            "status": "ACTIVE",
            "created_at": "2026-01-01T00:00:00Z",
        }
        for step in range(number)
    )
    lines = BytesIO("\n".join(json.dumps(row) for row in rows).encode())
    config = bigquery.LoadJobConfig(
        source_format="NEWLINE_DELIMITED_JSON", write_disposition="WRITE_APPEND"
    )
    client = platform.warehouse.client
    client.load_table_from_file(lines, "organizations.org_api_keys", job_config=config).result()
    return Authenticator(platform.warehouse)


def _key(step: int) -> str:
    return f"{ACME}_api_{step:016d}"


if __name__ == "__main__":
    sys.exit(main())
