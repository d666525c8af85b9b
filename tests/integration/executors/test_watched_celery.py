"""The executor of the Celery stack, in the environment that has Celery."""

from __future__ import annotations

import os
import subprocess
import textwrap
from pathlib import Path

import pytest

from convergence.settings import PROJECT_ROOT
from e2e.harness import PRODUCTION_PYTHON, free_ports
from stack import guarded
from stack.guarded import GuardedProcess

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


def run_script(folder: Path, script: str, *, broker_port: int, prepare: str = PREPARE) -> None:
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
        "AIRFLOW__CORE__DAGS_FOLDER": str(folder),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__EXECUTOR": ("convergence.executors.watched_celery.WatchedCeleryExecutor"),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{folder}/airflow.db",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
        "PYTHONPATH": str(PROJECT_ROOT / "plugins"),
    }
    code = textwrap.dedent(prepare) + textwrap.dedent(script)
    done = guarded.run([PRODUCTION_PYTHON, "-c", code], env=kept | options, timeout=110)
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
    run_script(tmp_path, script, broker_port=free_ports(1)[0])


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
    run_script(tmp_path, script, broker_port=free_ports(1)[0])


DAG_FILE = """
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG

with DAG("d", schedule=None):
    for name in ("ended", "lost", "waiting", "dead", "runs"):
        EmptyOperator(task_id=name)
"""
HOLDER = """
import os, time
from celery import Celery

app = Celery("holder", broker=os.environ["BROKER"])
app.conf.worker_disable_prefetch = True

@app.task(name="hold")
def hold():
    time.sleep(90)
"""
RUN_OF_FIVE_TASKS = """
    import os, time
    from datetime import UTC, datetime, timedelta
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.dag_processing.dagbag import BundleDagBag, sync_bag_to_db
    from airflow.executors.executor_loader import ExecutorLoader
    from airflow.models.dagbag import DBDagBag
    from airflow.models.log import Log
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.db import initdb
    from airflow.utils.session import create_session
    from airflow.utils.state import DagRunState
    from airflow.utils.types import DagRunTriggeredByType, DagRunType
    from convergence.executors import slot_watch
    from sqlalchemy import select

    initdb()
    folder = os.environ["AIRFLOW__CORE__DAGS_FOLDER"]
    with create_session() as session:
        DagBundlesManager().sync_bundles_to_db(session=session)
    bag = BundleDagBag(folder, bundle_path=folder, bundle_name="dags-folder")
    sync_bag_to_db(bag, "dags-folder", None)
    long_ago = datetime.now(UTC) - timedelta(minutes=2)
    with create_session() as session:
        dag = DBDagBag().get_latest_version_of_dag("d", session=session)
        made = dag.create_dagrun(
            run_id="r", run_after=long_ago, run_type=DagRunType.MANUAL, session=session,
            triggered_by=DagRunTriggeredByType.TEST, state=DagRunState.RUNNING,
        )
        states = {"ended": "success", "dead": "running", "runs": "running"}
        for ti in made.get_task_instances(session=session):
            ti.state = states.get(ti.task_id, "queued")
            ti.try_number, ti.external_executor_id = 1, f"m-{ti.task_id}"
            ti.queued_dttm = ti.last_heartbeat_at = long_ago

    def tasks():
        with create_session() as session:
            return {ti.task_id: ti for ti in session.scalars(select(TaskInstance))}

    executor = ExecutorLoader.get_default_executor()
    executor.running = {ti.key for ti in tasks().values()}
    slot_watch.ENDED_GRACE = timedelta(0)
"""


def test_nothing_is_concluded_while_the_broker_is_away(tmp_path: Path) -> None:
    script = """
        began = time.monotonic()
        executor.sync()
        assert time.monotonic() - began < 15, "the scheduler waited for the broker"
        left = {key.task_id for key in executor.running}
        assert left == {"runs", "waiting", "lost", "dead"}, left
        assert executor.event_buffer == {}
    """
    (tmp_path / "d.py").write_text(DAG_FILE)
    run_script(tmp_path, script, broker_port=free_ports(1)[0], prepare=RUN_OF_FIVE_TASKS)


def test_a_scheduler_goes_on_while_its_database_is_away(tmp_path: Path) -> None:
    script = """
        executor.running.add(work.key)
        executor.sync()  # there are no tables
        assert work.key in executor.running
    """
    run_script(tmp_path, script, broker_port=free_ports(1)[0])


def test_slots_come_back_and_those_of_live_tasks_stay(tmp_path: Path) -> None:
    """With a real Redis and a real worker, which is busy: one message runs, one waits."""
    script = """
        send = executor.celery_app.send_task
        send("hold", task_id="m-runs", queue="default")
        inspect, deadline = executor.celery_app.control.inspect(timeout=1.0), time.monotonic() + 60
        while not any((inspect.query_task("m-runs") or {"": None}).values()):
            assert time.monotonic() < deadline, "the worker took no message"
        send("hold", task_id="m-waiting", queue="default")

        executor._give_back()

        left = {key.task_id for key in executor.running}
        assert left == {"runs", "waiting"}, left
        events = {key.task_id: event for key, event in executor.event_buffer.items()}
        assert set(events) == {"dead"}, events
        assert events["dead"][0] == "failed" and "worker died" in events["dead"][1], events
        after = tasks()
        assert after["lost"].state == "scheduled" and after["lost"].external_executor_id is None
        assert after["waiting"].state == "queued" and after["runs"].state == "running"
        with create_session() as session:
            assert [log.task_id for log in session.scalars(
                select(Log).where(Log.event == "message lost"))] == ["lost"]
    """
    (tmp_path / "d.py").write_text(DAG_FILE)
    (tmp_path / "holder.py").write_text(HOLDER)
    [port] = free_ports(1)
    broker = f"redis://127.0.0.1:{port}/0"
    redis_command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    worker_command = [
        str(PRODUCTION_PYTHON), "-m", "celery", "-A", "holder",
        "worker", "-c", "1", "-Q", "default",
    ]  # fmt: skip
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    with (
        GuardedProcess(redis_command, env=kept, cwd=tmp_path, stdout=subprocess.DEVNULL),
        GuardedProcess(
            worker_command,
            env=kept | {"BROKER": broker, "C_FORCE_ROOT": "1"},
            cwd=tmp_path,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ),
    ):
        run_script(tmp_path, script, broker_port=port, prepare=RUN_OF_FIVE_TASKS)
