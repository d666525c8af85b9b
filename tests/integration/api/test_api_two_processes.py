"""Two processes of the API on one state store: limits hold for both together."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path

import httpx
import pytest
import uvicorn
from fastapi.testclient import TestClient

from stack import guarded
from support.api.airflow_double import PASSWORD, USERNAME, AirflowDouble
from support.api.calls import ACME, OPENAI_KEY, RUN, connect_openai, onboard
from support.api.sandbox_services import KMS_KEY, ROOT
from support.http_servers import free_port, wait_for
from support.processor_env import ProcessorEnv

PLUGINS = Path(__file__).resolve().parents[3] / "plugins"
READY_SECONDS = 30.0
LIMIT = 4


@pytest.fixture
def airflow(double: AirflowDouble) -> Iterator[str]:
    """The double behind a port, for processes of their own."""
    port = free_port()
    config = uvicorn.Config(double.app, host="127.0.0.1", port=port, log_level="error")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()


@contextmanager
def api_process(env: ProcessorEnv, airflow: str, tmp_path: Path) -> Iterator[str]:
    """`python -m convergence.api`; its address once it answers."""
    port, settings = free_port(), env.settings
    told = {
        "PYTHONPATH": str(PLUGINS),
        "GCP_PROJECT_ID": settings.gcp_project_id,
        "BIGQUERY_EMULATOR_HOST": settings.bigquery_emulator_host or "",
        "KMS_EMULATOR_HOST": settings.kms_emulator_host or "",
        "KMS_KEY_NAME": KMS_KEY,
        "OPENAI_BASE_URL": settings.openai_base_url or "",
        "STATE_DATABASE_URL": settings.state_url,
        "RATE_LIMIT_REQUESTS_PER_MINUTE": "100000",
        "AIRFLOW_API_URL": airflow,
        "AIRFLOW_API_USERNAME": USERNAME,
        "AIRFLOW_API_PASSWORD": PASSWORD,
        "CONVERGENCE_VAR_DIR": str(settings.var_dir),
    }
    with (tmp_path / f"api-{port}.log").open("wb") as log:
        process = guarded.GuardedProcess(
            [sys.executable, "-m", "convergence.api", "--port", str(port)],
            env={**os.environ, **told},
            stdout=log,
            stderr=log,
        )
        try:
            url = f"http://127.0.0.1:{port}"
            wait_for(f"{url}/health")
            yield f"{url}/api/v1"
        finally:
            process.terminate()
            process.wait(timeout=20)


async def trigger_all(
    urls: list[str], key: dict[str, str], days: list[date]
) -> list[httpx.Response]:
    limits = httpx.Limits(max_connections=100)
    async with httpx.AsyncClient(headers=key, timeout=60.0, limits=limits) as client:
        calls = [
            client.post(f"{urls[number % len(urls)]}{RUN}", json={"date": day.isoformat()})
            for number, day in enumerate(days)
        ]
        return await asyncio.gather(*calls)


def test_of_a_hundred_triggers_at_one_below_the_limit_exactly_one_is_accepted(
    client: TestClient, worker: ProcessorEnv, double: AirflowDouble, airflow: str, tmp_path: Path
) -> None:
    client.post("/admin/bootstrap", json={}, headers=ROOT)
    key = onboard(client, ACME)
    connect_openai(client, ACME, key, OPENAI_KEY)
    worker.ask(f"UPDATE organizations.org_usage_quotas SET concurrent_runs = {LIMIT} WHERE TRUE")
    first = date(2025, 11, 1)
    with (
        api_process(worker, airflow, tmp_path) as one,
        api_process(worker, airflow, tmp_path) as two,
    ):
        for number in range(LIMIT - 1):
            day = {"date": (first + timedelta(days=number)).isoformat()}
            accepted = httpx.post(f"{one}{RUN}", json=day, headers=key, timeout=30.0)
            assert accepted.status_code == 202, accepted.text
        days = [date(2025, 5, 1) + timedelta(days=number) for number in range(100)]
        answers = asyncio.run(trigger_all([one, two], key, days))
        assert Counter(answer.status_code for answer in answers) == {202: 1, 429: 99}
        refused = next(answer for answer in answers if answer.status_code == 429)
        body = refused.json()
        assert (body["limit"], body["maximum"], body["used"]) == ("concurrent_runs", LIMIT, LIMIT)
        assert int(refused.headers["Retry-After"]) >= 1
        told = httpx.get(f"{two}/quota/{ACME}", headers=key, timeout=30.0)
        assert told.status_code == 200, told.text
    quota = told.json()
    assert quota["concurrent_runs"] == {"maximum": LIMIT, "used": LIMIT, "remaining": 0}
    assert quota["runs_per_day"]["used"] == LIMIT
    assert quota["providers"]["used"] == 1
    assert len(double.triggered("openai.cost.usage_cost")) == LIMIT
