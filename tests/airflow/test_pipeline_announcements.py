"""Runs through Airflow whose end is announced: once, and without changing how they ended."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_world import World
from convergence.settings import PROJECT_ROOT
from mail_server import WebhookServer
from sample_pipelines import USAGE_COST

pytestmark = [
    pytest.mark.airflow,
    pytest.mark.filterwarnings("default"),
    pytest.mark.usefixtures("airflow_db"),
]

DAG_ID = "sample.cost.usage_cost"
ANNOUNCED = f"{USAGE_COST}notify: {{on_completion: [slack]}}\nretries: 0\n"
Write = Callable[[str, str], Path]


@pytest.fixture
def hook(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[WebhookServer]:
    folder = "notify_systems"
    shutil.copytree(
        PROJECT_ROOT / "include" / "configs" / folder, world.settings.configs_dir / folder
    )
    with WebhookServer() as server:
        monkeypatch.setenv("AIRFLOW_CONN_SLACKWEBHOOK_DEFAULT", server.connection())
        yield server


@pytest.fixture
def fetch() -> Iterator[Any]:
    module = importlib.import_module("convergence.processors.sample.fetch")
    yield module
    module.FAILURES.clear()
    module.CALLS.clear()


def run() -> tuple[Any, dict[str, Any]]:
    """The ended run, and what its closing task answered."""
    from convergence.pipelines.factory import register

    namespace: dict[str, Any] = {}
    register(namespace)
    dag_run = namespace[DAG_ID].test(run_conf={})
    (close,) = [ti for ti in dag_run.get_task_instances() if ti.task_id == "close_run"]
    return dag_run, close.xcom_pull(task_ids="close_run")


def test_the_digest_of_a_run_tells_who_failed(
    write: Write, hook: WebhookServer, fetch: Any
) -> None:
    write("sample/cost/usage_cost.yml", ANNOUNCED)
    fetch.FAILURES["beta_labs"] = [fetch.fatal()]
    dag_run, summary = run()
    assert dag_run.state == "failed"
    (posted,) = hook.posted
    assert "1 succeeded, 1 failed" in posted["text"]
    assert "*beta_labs*: " in posted["text"]
    assert summary["notifications"] == {"sent": 1, "failed": 0}


def test_a_webhook_that_refuses_leaves_a_good_run_good(write: Write, hook: WebhookServer) -> None:
    write("sample/cost/usage_cost.yml", ANNOUNCED)
    hook.answers = [(404, {})]
    dag_run, summary = run()
    assert dag_run.state == "success"
    assert summary["status"] == "SUCCESS"
    assert summary["notifications"] == {"sent": 0, "failed": 1}
