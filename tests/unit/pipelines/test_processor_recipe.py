"""The written recipe, followed to the letter: a processor dropped in is there everywhere."""

from __future__ import annotations

import importlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from convergence import processors
from convergence.pipelines import catalogue, json_schema
from convergence.pipelines.dags.docs import docs_md
from convergence.pipelines.files.loader import load_all, load_pipeline
from convergence.pipelines.files.spec import PipelineSpec
from convergence.processors import registry
from convergence.settings import PROJECT_ROOT
from support.sample_pipelines import write

RECIPE = (PROJECT_ROOT / "docs" / "processors.md").read_text(encoding="utf-8")
PIPELINES = (PROJECT_ROOT / "docs" / "pipelines.md").read_text(encoding="utf-8")
DOES = "Observes exchange rates once a day."


def blocks(kind: str, text: str = RECIPE) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", text, re.DOTALL)


@pytest.fixture
def spec(tmp_path: Path) -> Iterator[PipelineSpec]:
    """The recipe's files in their places, and its pipeline."""
    config, module = blocks("python")
    folder = tmp_path / "processors"
    for name, text in (("__init__", ""), ("config", config), ("rates", module)):
        write(folder, f"fx/{name}.py", text)
    processors.__path__.append(str(folder))
    importlib.invalidate_caches()
    registry.clear_caches()
    write(tmp_path / "configs", "fx/rates.yml", blocks("yaml")[0])
    found = load_pipeline(tmp_path / "configs" / "fx/rates.yml", tmp_path / "configs")
    assert isinstance(found, PipelineSpec), found
    yield found
    processors.__path__.remove(str(folder))
    for name in [name for name in sys.modules if name.startswith("convergence.processors.fx")]:
        del sys.modules[name]
    registry.clear_caches()


def test_it_is_in_the_registry_with_its_own_model(spec: PipelineSpec) -> None:
    assert "fx.rates" in registry.list_ps_types()
    assert spec.tables == ("fx_rates_daily",)
    assert spec.steps[0].parsed.model_dump()["base"] == "EUR"


def test_it_is_in_the_documentation_and_the_catalogue(spec: PipelineSpec) -> None:
    assert f"| `extract_rates` | `fx.rates` | {DOES} |" in docs_md(spec)
    line = f"| `fx.rates` | {DOES.rstrip('.')} | `fx/rates.yml` daily | `fx_rates_daily` |"
    assert line in catalogue.render_catalogue([spec]).splitlines()


def test_it_is_in_the_json_schema(spec: PipelineSpec) -> None:
    validator = Draft202012Validator(json_schema.build_schema())
    values = yaml.safe_load(spec.source)
    assert list(validator.iter_errors(values)) == []
    values["steps"][0]["config"]["base"] = "euro"
    assert list(validator.iter_errors(values)) != []


@pytest.mark.airflow
@pytest.mark.filterwarnings("default")
def test_it_is_in_the_factory(spec: PipelineSpec) -> None:
    from convergence.pipelines.dags.factory import build_dag

    dag = build_dag(spec)
    (task,) = [task for task in dag.tasks if task.task_id.endswith("extract_rates")]
    assert task.operator_name == "fx.rates"


def test_a_wrong_key_is_told_at_its_line(spec: PipelineSpec, tmp_path: Path) -> None:
    write(tmp_path / "configs", "fx/rates.yml", spec.source.replace("base: EUR", "bace: EUR"))
    (violation,) = load_all(tmp_path / "configs").violations
    assert "fx/rates.yml:9:7: steps[0].config.bace: unknown key; did you mean base" in str(
        violation
    )


def test_the_example_without_python_is_the_shipped_one() -> None:
    (written,) = [text for text in blocks("yaml", PIPELINES) if "vendor.example" in text]
    told = {step["step"]: step for step in yaml.safe_load(written)["steps"]}
    path = PROJECT_ROOT / "include/configs/example/usage/example_elt_pipeline.yml"
    for step in yaml.safe_load(path.read_text())["steps"]:
        shown = told.pop(step["step"])
        assert shown["processor"] == step["processor"]
        assert _within(shown["config"], step["config"]), json.dumps(shown["config"])
    assert told == {}


def _within(part: object, whole: object) -> bool:
    """Whether all that the first says is said by the second."""
    if isinstance(part, dict) and isinstance(whole, dict):
        return all(name in whole and _within(part[name], whole[name]) for name in part)
    return part == whole
