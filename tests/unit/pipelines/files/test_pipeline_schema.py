from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from convergence.pipelines import json_schema
from convergence.pipelines.files.loader import find_pipeline_files
from convergence.settings import PROJECT_ROOT
from stack import guarded
from support.sample_pipelines import PREPARE, USAGE_COST

CONFIGS = PROJECT_ROOT / "include" / "configs"


def violations(text: str) -> list[str]:
    validator = Draft202012Validator(json_schema.build_schema())
    return [violation.message for violation in validator.iter_errors(yaml.safe_load(text))]


def test_the_committed_schema_is_current() -> None:
    # In a process of its own: the tests' processors are no part of the committed schema.
    done = guarded.run(
        [sys.executable, "-m", "convergence.pipelines.json_schema", "--check"],
        cwd=PROJECT_ROOT / "plugins",
        timeout=110,
    )
    assert done.returncode == 0, done.stderr


def test_the_schema_is_a_schema() -> None:
    Draft202012Validator.check_schema(json_schema.build_schema())


@pytest.mark.parametrize("text", [USAGE_COST, PREPARE])
def test_sound_files_pass(text: str) -> None:
    assert violations(text) == []


@pytest.mark.parametrize("path", find_pipeline_files(CONFIGS), ids=lambda path: path.stem)
def test_the_projects_own_pipelines_pass(path: Path) -> None:
    assert violations(path.read_text()) == []


@pytest.mark.parametrize(
    "text",
    [
        USAGE_COST.replace("description", "descripton"),
        USAGE_COST.replace("granularity: day", "granularity: dayly"),
        USAGE_COST.replace("granularity", "granularty"),
        USAGE_COST.replace("ps_type: sample.price", "ps_type: sample.prise"),
        USAGE_COST.replace("    ps_type: sample.price\n", ""),
        USAGE_COST.replace("step: transform_cost", "step: cost"),
    ],
)
def test_an_editor_marks_what_the_linter_refuses(text: str) -> None:
    assert violations(text)


def test_a_processor_that_is_dropped_in_appears_with_its_own_config() -> None:
    definitions: dict[str, Any] = json_schema.build_schema()["$defs"]
    names = definitions["StepSpec"]["properties"]["processor"]["enum"]
    assert {"sample.fetch", "sample.price", "sample.prepare"} <= set(names)
    assert definitions["FetchConfig"]["properties"]["destination"]["description"] == (
        "Table that is published."
    )


def test_writing_makes_it_current(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "pipeline.schema.json"
    assert json_schema.main(["--check", "--path", str(path)]) == 1
    assert "make schema" in capsys.readouterr().err
    assert json_schema.main(["--path", str(path)]) == 0
    assert json_schema.main(["--check", "--path", str(path)]) == 0
