"""The two DAG files, as Airflow's DAG processor and its workers read them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from convergence.settings import PROJECT_ROOT
from stack import guarded
from support.sample_pipelines import PREPARE, USAGE_COST, record_files_read

pytestmark = [pytest.mark.airflow, pytest.mark.filterwarnings("default")]

DAGS = PROJECT_ROOT / "dags"
Write = Callable[[str, str], Path]


def bag() -> Any:
    from airflow.dag_processing.dagbag import DagBag

    return DagBag(dag_folder=DAGS, bundle_path=DAGS, bundle_name="tests")


def test_each_sound_file_is_one_dag_of_one_dag_file(write: Write) -> None:
    write("sample/cost/usage_cost.yml", USAGE_COST)
    write("setup/prepare.yaml", PREPARE)
    found = bag()
    assert found.import_errors == {}
    assert sorted(found.dags) == ["sample.cost.usage_cost", "setup.prepare"]
    assert {dag.fileloc for dag in found.dags.values()} == {str(DAGS / "pipelines.py")}


def test_broken_files_are_one_import_error_and_every_sound_dag_stays(write: Write) -> None:
    write("sample/cost/usage_cost.yml", USAGE_COST)
    write("a/unknown.yml", USAGE_COST.replace("sample.fetch", "sample.fetsh"))
    write("b/syntax.yml", "steps: [\n")
    write("c/two.yml", PREPARE)
    write("c/two.yaml", PREPARE)
    found = bag()
    assert sorted(found.dags) == ["c.two", "sample.cost.usage_cost"]
    ((file, error),) = found.import_errors.items()
    assert Path(file).name == "config_errors.py"
    assert "3 errors in 3 files" in error
    for line in (
        'a/unknown.yml:10:16: steps[0].processor: unknown processor "sample.fetsh"',
        "b/syntax.yml:2:1: not YAML",
        "c/two.yaml:1:1: two.yml in the same folder claims the same identity",
    ):
        assert line in error


def test_both_files_pass_airflows_safe_mode() -> None:
    from airflow.utils.file import might_contain_dag

    for name in ("pipelines.py", "config_errors.py"):
        assert might_contain_dag(str(DAGS / name), safe_mode=True)


def test_a_task_opens_only_its_own_file(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    write("sample/cost/usage_cost.yml", USAGE_COST)
    write("a/other.yml", PREPARE)
    opened = record_files_read(monkeypatch)
    from convergence.pipelines.dags.factory import register_dags

    monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_DAG_ID", "sample.cost.usage_cost")
    namespace: dict[str, Any] = {}
    register_dags(namespace)
    assert list(namespace) == ["sample.cost.usage_cost"]
    assert opened == ["usage_cost.yml"]


def test_a_dag_without_a_file_falls_back_to_reading_all(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("sample/cost/usage_cost.yml", USAGE_COST)
    monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_DAG_ID", "some.other")
    from convergence.pipelines.dags.factory import register_dags

    namespace: dict[str, Any] = {}
    register_dags(namespace)
    assert list(namespace) == ["sample.cost.usage_cost"]


_SERIALIZE = """
import json, sys
from support import sample_pipelines
sample_pipelines.install_processors()
from airflow.serialization.serialized_objects import DagSerialization
from convergence.pipelines.dags.factory import register_dags
namespace = {}
register_dags(namespace)
wanted = namespace["sample.cost.usage_cost"]
# Airflow writes the keys in the order of a set; what it stores and compares is sorted.
text = json.dumps(DagSerialization.to_dict(wanted), sort_keys=True)
"""


def test_the_same_file_serializes_to_equal_bytes_in_any_process(
    write: Write, configs: Path
) -> None:
    write("sample/cost/usage_cost.yml", USAGE_COST + "tags: [c, a, b]\n")
    write("a/other.yml", PREPARE)
    # This process builds every DAG, as the DAG processor does; the other one its own, as a task
    # does, with another order of sets.
    with guarded.GuardedProcess(
        [sys.executable, "-c", f"{_SERIALIZE}\nsys.stdout.write(text)"],
        env=os.environ
        | {
            "PYTHONHASHSEED": "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1",
            "PYTHONPATH": f"{PROJECT_ROOT / 'plugins'}:{PROJECT_ROOT / 'tests'}",
            "_AIRFLOW_PARSING_CONTEXT_DAG_ID": "sample.cost.usage_cost",
        },
        stdout=subprocess.PIPE,
    ) as other:
        theirs = other.communicate()[0]
    assert other.returncode == 0
    here: dict[str, Any] = {}
    exec(_SERIALIZE, here)  # noqa: S102  # the same lines as the other process
    ours = here["text"]
    assert json.loads(ours)["dag"]["dag_id"] == "sample.cost.usage_cost"
    assert ours == theirs


def test_the_dag_files_hold_nothing_that_would_inflate_versions() -> None:
    from airflow.utils.dag_version_inflation_checker import check_dag_file_stability

    for name in ("pipelines.py", "config_errors.py"):
        result: Any = check_dag_file_stability(str(DAGS / name))
        assert result.get_error_format_dict(str(DAGS / name), str(DAGS)) in (None, {})
