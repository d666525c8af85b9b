"""Runs through Airflow whose end is announced: once, and without changing how they ended."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from convergence.settings import PROJECT_ROOT
from convergence.state import unannounced_runs
from convergence.state.org_runs import OrgRun, org_run_id
from support.airflow_env import LIMITS, AirflowEnv
from support.mail_server import WebhookServer
from support.run_records import admit_run
from support.sample_pipelines import PREPARE, USAGE_COST

pytestmark = [
    pytest.mark.airflow,
    pytest.mark.filterwarnings("default"),
    pytest.mark.usefixtures("airflow_db"),
]

DAG_ID = "sample.cost.usage_cost"
ANNOUNCED = f"{USAGE_COST}notify: {{on_completion: [slack]}}\nretries: 0\n"
Write = Callable[[str, str], Path]


@pytest.fixture
def hook(env: AirflowEnv, monkeypatch: pytest.MonkeyPatch) -> Iterator[WebhookServer]:
    folder = "notify_systems"
    shutil.copytree(
        PROJECT_ROOT / "include" / "configs" / folder, env.settings.configs_dir / folder
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


def run_dag(dag_id: str = DAG_ID, **conf: Any) -> tuple[Any, dict[str, Any]]:
    """The ended run, and what its closing task answered."""
    from convergence.pipelines.dags.factory import register_dags

    namespace: dict[str, Any] = {}
    register_dags(namespace)
    dag_run = namespace[dag_id].test(run_conf=conf)
    (close,) = [ti for ti in dag_run.get_task_instances() if ti.task_id == "close_run"]
    return dag_run, close.xcom_pull(task_ids="close_run")


def test_the_digest_of_a_run_tells_who_failed(
    write: Write, hook: WebhookServer, fetch: Any
) -> None:
    write("sample/cost/usage_cost.yml", ANNOUNCED)
    fetch.FAILURES["beta_labs"] = [fetch.fatal()]
    dag_run, summary = run_dag()
    assert dag_run.state == "failed"
    (posted,) = hook.posted
    assert "1 succeeded, 1 failed" in posted["text"]
    assert "*beta_labs*: " in posted["text"]
    assert summary["notifications"] == {"sent": 1, "failed": 0}


def test_a_webhook_that_refuses_leaves_a_good_run_good(write: Write, hook: WebhookServer) -> None:
    write("sample/cost/usage_cost.yml", ANNOUNCED)
    hook.answers = [(404, {})]
    dag_run, summary = run_dag()
    assert dag_run.state == "success"
    assert summary["status"] == "SUCCESS"
    assert summary["notifications"] == {"sent": 0, "failed": 1}


def lose(env: AirflowEnv) -> OrgRun:
    """An organization's run whose Airflow run ended before its last task could."""
    now = datetime.now(UTC)
    lost = OrgRun(
        run_id=org_run_id(DAG_ID, "api__lost", "beta_labs"),
        org_slug="beta_labs",
        pipeline_id="sample-usage-cost",
        dag_id=DAG_ID,
        dag_run_id="api__lost",
        trigger="api",
        requested_by="key_1",
        created_at=now,
    )
    admit_run(env.store, lost, limits=LIMITS, now=now)
    (closed,) = env.records.close_dag_run(DAG_ID, "api__lost", now=now, succeeded=False)
    return closed


def test_a_run_that_others_than_its_last_task_ended_is_told_of_once(
    write: Write, hook: WebhookServer, env: AirflowEnv
) -> None:
    write("sample/cost/usage_cost.yml", ANNOUNCED)
    write("sample/prepare.yml", PREPARE)
    lose(env)
    for _ in range(2):
        dag_run, _summary = run_dag("sample.prepare", org_slug="acme_corp")
        assert dag_run.state == "success"
        (posted,) = hook.posted
        assert "0 succeeded, 1 failed" in posted["text"]
        assert "*beta_labs*: the run ended before all its steps were done" in posted["text"]


def test_a_lost_run_of_a_pipeline_that_is_gone_holds_up_nothing(
    write: Write, hook: WebhookServer, env: AirflowEnv
) -> None:
    write("sample/prepare.yml", PREPARE)
    lose(env)
    dag_run, _summary = run_dag("sample.prepare", org_slug="acme_corp")
    assert dag_run.state == "success"
    assert hook.posted == []
    with env.store.read() as conn:
        assert unannounced_runs.list_unannounced(conn, limit=9) == []
