"""The app against the sandbox's warehouse, KMS and providers; only Airflow is a double.

The double does the work of platform DAGs in this process, as their tasks would.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import httpx
import pytest
from fastapi.testclient import TestClient

from convergence.api.airflow.client import AirflowClient
from convergence.api.http.services import Services
from convergence.api.platform import background_tasks
from convergence.pipelines.files.loader import load_dag
from convergence.pipelines.files.spec import PipelineSpec
from convergence.processors.base import PlatformProcessor
from convergence.processors.context import PlatformContext
from convergence.processors.registry import find
from convergence.processors.run_conf import check
from convergence.settings import Settings
from processors_world import World, connect
from sandbox_process import SandboxProcess
from unit.api.airflow_double import PASSWORD, USERNAME, AirflowDouble
from unit.api.apps import lent
from unit.api.world import ROOT_KEY

if TYPE_CHECKING:
    from integration.api.town import Town

KMS_KEY = "projects/local-dev-project/locations/global/keyRings/convergence/cryptoKeys/credentials"
ROOT = {"X-CA-Root-Key": ROOT_KEY}
PLATFORM_DAGS = (
    "setup.initial.onetime_bootstrap",
    "setup.organizations.dryrun",
    "setup.organizations.onboarding",
    "integrations.validate",
)


class SandboxServices(Services):
    """The real services; Airflow is a double."""

    def __init__(self, settings: Settings, double: AirflowDouble) -> None:
        super().__init__(settings)
        self.double = double

    @cached_property
    def airflow(self) -> AirflowClient:
        return AirflowClient(
            "http://airflow.test",
            username=USERNAME,
            password=PASSWORD,
            first_wait_seconds=0.0,
            transport=httpx.ASGITransport(self.double.app),
        )


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    process = SandboxProcess(tmp_path_factory.mktemp("sandbox"))
    process.start()
    yield process
    assert process.stop() == 0


@pytest.fixture(scope="module")
def town(sandbox: SandboxProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """One inhabited platform for all tests of a module."""
    from integration.api.town import settled

    with settled(sandbox, tmp_path_factory.mktemp("town")) as town:
        yield town


@pytest.fixture
def worker(sandbox: SandboxProcess, tmp_path: Path) -> Iterator[World]:
    """What tasks find, on a project that nobody has used."""
    world = connect(sandbox, tmp_path, project=f"api-{uuid.uuid4().hex[:12]}")
    world.settings = world.settings.model_copy(update={"kms_key_name": KMS_KEY})
    world.services = replace(world.services, settings=world.settings)
    yield world
    world.services.store.close()


@pytest.fixture
def double(worker: World) -> AirflowDouble:
    double = AirflowDouble()
    for dag_id in (*PLATFORM_DAGS, "openai.cost.usage_cost", "openai.seed_csv"):
        double.add_dag(dag_id)
    double.work = working(worker)
    return double


@pytest.fixture
def services(worker: World, double: AirflowDouble) -> SandboxServices:
    values = {
        "root_api_key": ROOT_KEY,
        "rate_limit_requests_per_minute": 100_000,
    }
    return SandboxServices(worker.settings.model_copy(update=_typed(values)), double)


@pytest.fixture
def client(services: SandboxServices, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    monkeypatch.setattr(background_tasks, "all_of", lambda _services: [])
    with lent(services) as app, TestClient(app, raise_server_exceptions=False) as client:
        yield client


def working(world: World) -> Callable[[str, dict[str, Any]], dict[str, Any] | None]:
    """Run the steps of a platform DAG; leave an org's run queued."""

    def work(dag_id: str, conf: dict[str, Any]) -> dict[str, Any] | None:
        spec = load_dag(dag_id, world.settings.configs_dir)
        assert isinstance(spec, PipelineSpec)
        if spec.scope == "org":
            return None
        facts = spec.facts()
        told: dict[str, Any] = {}
        for step in spec.steps:
            kind = cast("type[PlatformProcessor[Any]]", find(step.ps_type))
            operator = kind(task_id=step.step, config=step.config, pipeline=facts)
            context = PlatformContext(
                pipeline=facts,
                step=step.step,
                dag_run_id="test",
                attempt=1,
                services=world.services,
                log=logging.getLogger("test"),
                stop=threading.Event(),
            )
            params = check(conf, pipeline=facts)
            told[step.step] = operator.run(context, operator.parsed(), params).answer()
        return told

    return work


def _typed(values: dict[str, Any]) -> dict[str, Any]:
    return Settings(**values).model_dump(include=set(values))
