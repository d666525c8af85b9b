"""What a component of Airflow has imported before it forks a process for a task or a file."""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from convergence.settings import PROJECT_ROOT
from stack import guarded

_COMPONENT = """
import json, os, sys, threading
sys.argv = ["airflow", *sys.argv[1:]]
opened = []
sys.addaudithook(lambda event, given: opened.append(str(given[0])) if event == "open" else None)
import airflow.settings
airflow.settings.initialize()
print(json.dumps({
    "modules": sorted(sys.modules),
    "configs": [path for path in opened if "/include/configs/" in path],
    "threads": len(os.listdir("/proc/self/task")),
}))
"""
_FORK = """
import json, os, pathlib, sys, time
sys.argv = ["airflow", "scheduler"]
import airflow.settings
airflow.settings.initialize()

def in_child():
    read, write = os.pipe()
    if (pid := os.fork()) == 0:
        loaded = [name for name in sys.modules if name.partition(".")[0] == "convergence"]
        from convergence.pipelines import probe
        os.write(write, json.dumps([len(loaded), probe.VERSION]).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    return json.loads(os.read(read, 100))

before = in_child()
probe = pathlib.Path(os.environ["PYTHONPATH"]) / "convergence/pipelines/probe.py"
probe.write_text("VERSION = 2.5\\n")
print(json.dumps([before, in_child(), in_child()]))
"""
HEAVY = {"google.cloud.bigquery", "google.cloud.kms"}
# Imported by Airflow itself in every task's process, if not before.
EVERY_TASK = {
    "airflow.dag_processing.bundles.local",
    "airflow.providers.google.cloud.hooks.bigquery",
    "jinja2.ext",
}
FORKING = [("scheduler",), ("celery", "worker"), ("dag-processor",)]


@dataclass(frozen=True)
class Component:
    """What a process had done when it was ready to fork."""

    modules: set[str]
    configs: list[str]
    threads: int
    said: str

    @property
    def ours(self) -> list[str]:
        return [name for name in self.modules if name.partition(".")[0] == "convergence"]


@cache
def start_component(*command: str, preload: str = "") -> Component:
    """Start a process as this command of Airflow's and look into it; once for all tests."""
    done = guarded.run(
        [sys.executable, "-c", _COMPONENT, *command],
        env={**os.environ, "PYTHONPATH": "plugins", "CONVERGENCE_PRELOAD": preload},
        check=True,
        timeout=110,
    )
    found = json.loads(done.stdout.splitlines()[-1])
    modules = set(found.pop("modules"))
    return Component(modules=modules, said=done.stdout + done.stderr, **found)


@pytest.mark.parametrize("command", FORKING, ids=" ".join)
def test_who_forks_tasks_has_imported_what_they_need_but_none_of_our_code(
    command: tuple[str, ...],
) -> None:
    found = start_component(*command)
    assert found.modules >= HEAVY
    assert found.modules >= EVERY_TASK
    assert found.ours == []


def test_a_command_that_forks_nothing_is_not_kept_waiting() -> None:
    found = start_component("db", "migrate", preload="all")
    assert not HEAVY & found.modules
    assert found.ours == []


def test_our_code_is_imported_before_the_fork_where_the_setting_says_so() -> None:
    found = start_component("scheduler", preload="all")
    assert {"convergence.pipelines.dags.factory", "convergence.processors.aws.s3_data_loader"} <= {
        *found.ours
    }
    assert not [name for name in found.ours if name.startswith("convergence.api")]


def test_importing_our_code_starts_no_thread_and_reads_no_configuration() -> None:
    """Threads do not survive a fork; a configuration that was read would be an old one."""
    found = start_component("scheduler", preload="all")
    assert found.threads == start_component("scheduler").threads
    assert found.configs == []


def test_a_setting_that_is_none_is_named_and_passed_over() -> None:
    found = start_component("scheduler", preload="everything")
    assert found.ours == []
    assert "CONVERGENCE_PRELOAD is 'everything'; it may be packages or all" in found.said


def test_a_task_forked_after_the_code_changed_runs_the_new_code_alone(tmp_path: Path) -> None:
    shutil.copytree(
        PROJECT_ROOT / "plugins", tmp_path / "plugins", ignore=shutil.ignore_patterns("__pycache__")
    )
    (tmp_path / "plugins/convergence/pipelines/probe.py").write_text("VERSION = 1\n")
    done = guarded.run(
        [sys.executable, "-c", _FORK],
        env={
            **os.environ,
            "PYTHONPATH": str(tmp_path / "plugins"),
            "CONVERGENCE_PRELOAD": "all",
        },
        check=True,
        timeout=110,
    )
    before, after, later = json.loads(done.stdout.splitlines()[-1])
    assert before[0] > 200
    assert before[1] == 1
    assert after == later == [0, 2.5]
    said = done.stdout + done.stderr
    assert said.count("The code changed after this component had imported it") == 1
