"""Real processes behind a trusted proxy: alone, and in Airflow's API server as docker-compose.yaml
starts it, with and without uvicorn's own reading of `X-Forwarded-For`.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from fastapi.testclient import TestClient

from convergence.api.app import create_app
from convergence.api.http.limits import FAILED_KEYS_PER_MINUTE
from convergence.api.platform import background_tasks
from stack import guarded
from support.airflow_database import copy_migrated_database
from support.api.calls import ACME, onboard
from support.api.env import ROOT_KEY
from support.api.residents import connect_services
from support.api.sandbox_services import KMS_KEY, ROOT
from support.http_servers import free_port, wait_for
from support.sandbox_process import SandboxProcess

REPOSITORY = Path(__file__).resolve().parents[3]
COMPOSE: dict[str, Any] = yaml.safe_load((REPOSITORY / "docker-compose.yaml").read_text())
API_SERVER: dict[str, Any] = COMPOSE["services"]["api-server"]
AIRFLOW = [sys.executable, "-m", "airflow"]
STOP_SECONDS = 20.0
READY_SECONDS = 120.0
# What a deployer writes into .env; everything else of the compose file keeps its default.
DEPLOYER = {"TRUSTED_PROXIES": "127.0.0.0/8,10.0.0.0/8", "GCP_PROJECT_ID": "x", "KMS_KEY_NAME": "x"}

CLIENT, OTHER = "198.51.100.1", "198.51.100.2"

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(420)]


@dataclass(frozen=True)
class Platform:
    """A sandbox with one organization: its key, and the environment that reaches it."""

    key: dict[str, str]
    environment: dict[str, str]
    folder: Path


@pytest.fixture(scope="module")
def platform(
    sandbox: SandboxProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Platform]:
    folder = tmp_path_factory.mktemp("proxies")
    env, services = connect_services(sandbox, folder, project="behind-proxies")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(background_tasks, "list_tasks", lambda _services: [])
        with TestClient(create_app(services=services)) as client:
            assert client.post("/admin/bootstrap", json={}, headers=ROOT).status_code == 200
            key = onboard(client, ACME)
    settings = env.settings
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "PYTHONPATH": str(REPOSITORY / "plugins"),
        "ENVIRONMENT": "development",
        "GCP_PROJECT_ID": settings.gcp_project_id,
        "BIGQUERY_EMULATOR_HOST": settings.bigquery_emulator_host or "",
        "KMS_EMULATOR_HOST": settings.kms_emulator_host or "",
        "KMS_KEY_NAME": KMS_KEY,
        "STATE_DATABASE_URL": settings.state_url,
        "CONVERGENCE_VAR_DIR": str(settings.var_dir),
        "CA_ROOT_API_KEY": ROOT_KEY,
    }
    yield Platform(key, environment, folder)
    env.services.store.close()


@pytest.fixture(scope="module")
def airflow(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What replaces the containers' databases, accounts and secrets; a migrated database."""
    home = platform.folder / "airflow"
    home.mkdir()
    environment = {
        **platform.environment,
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__API_AUTH__JWT_SECRET": "of-this-test-alone-0123456789abcdef",
        "AIRFLOW__API__SECRET_KEY": "of-this-test-alone-fedcba9876543210",
        "AIRFLOW__CORE__AUTH_MANAGER": (
            "airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager"
        ),
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(REPOSITORY / "plugins"),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}",
        "RATE_LIMIT_ENABLED": "true",
    }
    copy_migrated_database(tmp_path_factory, home / "airflow.db")
    return environment


def composed() -> dict[str, str]:
    """The API server's environment as compose gives it to the container, without secrets."""

    def resolved(value: str) -> str:
        return re.sub(
            r"\$\{(\w+)(?::?[-?]([^}]*))?\}", lambda m: DEPLOYER.get(m[1], m[2] or ""), value
        )

    environment = {name: resolved(value) for name, value in API_SERVER["environment"].items()}
    outside = {"SECRETS_DIR", "GOOGLE_APPLICATION_CREDENTIALS"}
    return {
        name: value
        for name, value in environment.items()
        if not name.endswith("_CMD") and name not in outside
    }


@contextmanager
def served(
    command: Sequence[str | Path], environment: Mapping[str, str], *, folder: Path, port: int
) -> Iterator[str]:
    with (folder / f"server-{port}.log").open("wb") as log:
        process = guarded.GuardedProcess(command, env=environment, stdout=log, stderr=log)
        try:
            url = f"http://127.0.0.1:{port}/api/v1"
            wait_for(f"{url}/health", seconds=READY_SECONDS)
            yield url
        finally:
            process.terminate()
            process.wait(timeout=STOP_SECONDS)


def get(url: str, key: dict[str, str], forwarded: str) -> int:
    headers = {**key, "X-Forwarded-For": forwarded}
    response = httpx.get(f"{url}/pipelines/runs/{ACME}", headers=headers, timeout=30.0)
    return response.status_code


def wrong_keys(url: str, forwarded: str, times: int) -> list[int]:
    keys = [{"X-API-Key": f"{ACME}_api_{number:016}"} for number in range(times)]
    return [get(url, key, forwarded) for key in keys]


def check_clients_are_counted_apart(url: str, platform: Platform, *, proxy: str = "") -> None:
    """Lock one client out; find its neighbour and every good key served.

    Args:
        url: of the API; its peer is loopback.
        platform: with a good key.
        proxy: that follows each client in the header, such as ", 10.0.0.2".
    """
    codes = wrong_keys(url, CLIENT + proxy, FAILED_KEYS_PER_MINUTE + 2)
    assert codes == [401] * FAILED_KEYS_PER_MINUTE + [429] * 2
    assert wrong_keys(url, OTHER + proxy, 1) == [401]
    assert wrong_keys(url, f"{OTHER}, {CLIENT}{proxy}", 1) == [429]
    assert get(url, platform.key, CLIENT + proxy) == 200


def test_the_api_alone_counts_the_clients_of_its_proxy(platform: Platform) -> None:
    port = free_port()
    command = [sys.executable, "-m", "convergence.api", "--port", str(port)]
    environment = platform.environment | {"TRUSTED_PROXIES": DEPLOYER["TRUSTED_PROXIES"]}
    with served(command, environment, folder=platform.folder, port=port) as url:
        check_clients_are_counted_apart(url, platform, proxy=", 10.0.0.2")


def test_without_the_setting_the_header_counts_for_nothing(platform: Platform) -> None:
    port = free_port()
    command = [sys.executable, "-m", "convergence.api", "--port", str(port)]
    with served(command, platform.environment, folder=platform.folder, port=port) as url:
        assert wrong_keys(url, CLIENT, FAILED_KEYS_PER_MINUTE) == [401] * FAILED_KEYS_PER_MINUTE
        assert wrong_keys(url, OTHER, 1) == [429]
        assert get(url, platform.key, OTHER) == 200


@pytest.mark.parametrize("options", [(), ("--proxy-headers",)], ids=["compose", "proxy-headers"])
def test_the_api_server_of_the_compose_file_counts_the_clients_of_its_proxy(
    platform: Platform, airflow: dict[str, str], options: tuple[str, ...]
) -> None:
    """Its command and environment; databases, accounts, secrets and clouds are this machine's."""
    port = free_port()
    program, *arguments = API_SERVER["command"]
    assert program == "airflow"
    own = {"AIRFLOW__API__PORT": str(port), "AIRFLOW__API__HOST": "127.0.0.1"}
    environment = composed() | airflow | own
    command = [*AIRFLOW, *arguments, *options]
    with served(command, environment, folder=platform.folder, port=port) as url:
        check_clients_are_counted_apart(url, platform, proxy=", 10.0.0.2, 127.0.0.1")
