"""The executor of the Celery stack, in the environment that has Celery."""

from __future__ import annotations

import os
import subprocess
import textwrap
from pathlib import Path

import pytest

from convergence.settings import PROJECT_ROOT
from e2e.harness import PRODUCTION_PYTHON, free_ports

pytestmark = [pytest.mark.airflow, pytest.mark.slow]

PREPARE = """
    from types import SimpleNamespace
    from airflow.executors import workloads
    from airflow.executors.executor_loader import ExecutorLoader
    from airflow.executors.workloads.base import BundleInfo
    from airflow.executors.workloads.task import TaskInstanceDTO

    executor = ExecutorLoader.get_default_executor()
    def task(name):
        ti = TaskInstanceDTO(
            id="0192f4a0-0000-7000-8000-000000000001",
            dag_version_id="0192f4a0-0000-7000-8000-000000000002",
            task_id=name, dag_id="d", run_id="r", try_number=1, map_index=-1, pool_slots=1,
            queue="default", priority_weight=1, external_executor_id="message-1",
        )
        return workloads.ExecuteTask(
            ti=ti, dag_rel_path="d.py", token="t", log_path="l", bundle_info=BundleInfo(name="b"),
        )
    work = task("extract")
    executor.queue_workload(work, session=None)
"""


def run(folder: Path, script: str, *, broker_port: int) -> None:
    """Run a script in the production environment; it fails by raising."""
    if not PRODUCTION_PYTHON.is_file():
        pytest.fail("the production environment is missing: make setup-production")
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    options = {
        "AIRFLOW_HOME": str(folder),
        "AIRFLOW__API_AUTH__JWT_SECRET": "x" * 64,
        "AIRFLOW__CELERY__BROKER_URL": f"redis://127.0.0.1:{broker_port}/0",
        "AIRFLOW__CELERY__RESULT_BACKEND": f"db+sqlite:///{folder}/results.db",
        "AIRFLOW__CELERY__TASK_PUBLISH_MAX_RETRIES": "2",
        "AIRFLOW__CORE__EXECUTOR": ("convergence.executors.watched_celery.WatchedCeleryExecutor"),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{folder}/airflow.db",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
        "PYTHONPATH": str(PROJECT_ROOT / "plugins"),
    }
    code = textwrap.dedent(PREPARE) + textwrap.dedent(script)
    done = subprocess.run(
        [str(PRODUCTION_PYTHON), "-c", code],
        env=kept | options,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_a_task_waits_while_the_broker_is_away(tmp_path: Path) -> None:
    """Airflow's own executor fails it at once, and a task without retries its whole run."""
    script = """
        for _ in range(2):
            executor.trigger_tasks(4)
            assert work.key in executor.queued_tasks, "the task was given up"
            assert executor.event_buffer == {}, executor.event_buffer
            assert not executor.running
        executor.trigger_tasks(4)  # as often as `task_publish_max_retries` says
        assert executor.event_buffer[work.key][0] == "failed"
    """
    run(tmp_path, script, broker_port=free_ports(1)[0])


def test_nothing_is_concluded_while_the_broker_is_away(tmp_path: Path) -> None:
    script = """
        executor.running.add(work.key)
        executor.sync()  # neither the database nor the broker is there
        assert work.key in executor.running
    """
    run(tmp_path, script, broker_port=free_ports(1)[0])


def test_a_token_outlives_the_timeout_of_the_queue(tmp_path: Path) -> None:
    """A worker may take a message in the moment of the timeout, and must not be refused."""
    script = """
        import time, jwt
        from airflow.executors.workloads.base import BaseWorkloadSchema
        token = BaseWorkloadSchema.generate_token("task", executor.jwt_generator)
        claims = jwt.decode(token, options={"verify_signature": False})
        assert claims["exp"] - time.time() > 600 + 60, claims
        assert claims["scope"] == "workload"
    """
    run(tmp_path, script, broker_port=free_ports(1)[0])
