"""What a component of Airflow has imported before it forks a process for a task or a file."""

from __future__ import annotations

import json
import os
import sys

import pytest

from stack import guarded

_TOLD = """
import json, sys
sys.argv = ["airflow", *sys.argv[1:]]
import airflow.settings
airflow.settings.initialize()
print(json.dumps(sorted(sys.modules)))
"""
HEAVY = {"google.cloud.bigquery", "google.cloud.kms"}


def imported_by(*command: str) -> set[str]:
    """The modules in a process that was started as this command of Airflow's."""
    told = guarded.run(
        [sys.executable, "-c", _TOLD, *command],
        env={**os.environ, "PYTHONPATH": "plugins"},
        check=True,
        timeout=110,
    ).stdout
    return set(json.loads(told.splitlines()[-1]))


@pytest.mark.parametrize(
    "command", [("scheduler",), ("celery", "worker"), ("dag-processor",)], ids=" ".join
)
def test_who_forks_tasks_has_imported_what_they_need_but_none_of_our_code(
    command: tuple[str, ...],
) -> None:
    found = imported_by(*command)
    assert found >= HEAVY
    assert "airflow.providers.google.cloud.hooks.bigquery" in found
    assert not [name for name in found if name.partition(".")[0] == "convergence"]


def test_a_command_that_forks_nothing_is_not_kept_waiting() -> None:
    assert not HEAVY & imported_by("db", "migrate")
