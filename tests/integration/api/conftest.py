"""The app against the sandbox's warehouse, KMS and providers; only Airflow is a double.

The double does the work of platform DAGs in this process, as their tasks would.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fastapi.testclient import TestClient

from convergence.api.platform import background_tasks
from convergence.settings import Settings
from support.api.airflow_double import AirflowDouble
from support.api.apps import borrow_app
from support.api.env import ROOT_KEY
from support.api.sandbox_services import KMS_KEY, PLATFORM_DAGS, SandboxServices, working
from support.processor_env import ProcessorEnv, connect_env
from support.sandbox_process import SandboxProcess

if TYPE_CHECKING:
    from support.api.populated import PopulatedApi


@pytest.fixture(scope="module")
def populated_api(
    sandbox: SandboxProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PopulatedApi]:
    """One inhabited platform for all tests of a module."""
    from support.api.populated import populate_api

    with populate_api(sandbox, tmp_path_factory.mktemp("populated_api")) as populated_api:
        yield populated_api


@pytest.fixture
def worker(sandbox: SandboxProcess, tmp_path: Path) -> Iterator[ProcessorEnv]:
    """What tasks find, on a project that nobody has used."""
    env = connect_env(sandbox, tmp_path, project=f"api-{uuid.uuid4().hex[:12]}")
    env.settings = env.settings.model_copy(update={"kms_key_name": KMS_KEY})
    env.services = replace(env.services, settings=env.settings)
    yield env
    env.services.store.close()


@pytest.fixture
def double(worker: ProcessorEnv) -> AirflowDouble:
    double = AirflowDouble()
    for dag_id in (*PLATFORM_DAGS, "openai.cost.usage_cost", "openai.seed_csv"):
        double.add_dag(dag_id)
    double.work = working(worker)
    return double


@pytest.fixture
def services(worker: ProcessorEnv, double: AirflowDouble) -> SandboxServices:
    values = {
        "root_api_key": ROOT_KEY,
        "rate_limit_requests_per_minute": 100_000,
    }
    return SandboxServices(worker.settings.model_copy(update=_typed(values)), double)


@pytest.fixture
def client(services: SandboxServices, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    monkeypatch.setattr(background_tasks, "list_tasks", lambda _services: [])
    with borrow_app(services) as app, TestClient(app, raise_server_exceptions=False) as client:
        yield client


def _typed(values: dict[str, Any]) -> dict[str, Any]:
    return Settings(**values).model_dump(include=set(values))
