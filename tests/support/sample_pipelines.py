"""Processors and pipeline files that the tests of factory, base class and linter share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from convergence import processors
from convergence.pipelines.files import document, loader, settings_files, suites
from convergence.pipelines.files.loader import load_pipeline
from convergence.pipelines.files.spec import PipelineSpec
from convergence.pipelines.files.violations import ViolationReport
from convergence.processors import registry

PATH = "sample/cost/usage_cost.yml"
_FOLDER = str(Path(__file__).parents[1] / "data" / "processors")

USAGE_COST = """\
pipeline_id: sample-usage-cost
description: Daily usage and cost of a sample provider
provider: openai
schedule: "0 6 * * *"
params:
  start_date: {type: string, format: date}
  end_date: {type: string, format: date}
steps:
  - step: extract_usage
    processor: sample.fetch
    config:
      granularity: day
      page_size: 10
  - step: transform_cost
    ps_type: sample.price
"""

PREPARE = """\
pipeline_id: sample-prepare
description: Prepares the platform
scope: platform
params:
  org_slug: {type: string, required: true}
steps:
  - step: create_tables
    processor: sample.prepare
"""


def install_processors() -> None:
    """Add the sample processors to the product's; a second call changes nothing."""
    if _FOLDER not in processors.__path__:
        processors.__path__.append(_FOLDER)
        registry.clear_caches()


def write(root: Path, path: str, text: str) -> Path:
    """Write a file under a folder of configurations."""
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8")
    return target


def list_errors(root: Path, text: str, path: str = PATH) -> list[str]:
    """Every fault of a pipeline file, which has some."""
    found = load_pipeline(write(root, path, text), root)
    assert isinstance(found, tuple), found
    return [str(fault) for fault in found]


def loaded(root: Path, text: str = USAGE_COST, path: str = PATH) -> PipelineSpec:
    """A pipeline file, which is sound."""
    spec = load_pipeline(write(root, path, text), root)
    assert isinstance(spec, PipelineSpec), spec
    return spec


def changed(**changes: Any) -> str:
    """The sample pipeline with other values."""
    values = yaml.safe_load(USAGE_COST)
    for key, value in changes.items():
        values[key] = value
    return yaml.safe_dump(values, sort_keys=False)


def record_files_read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the YAML files that are read from now on, as they are read."""
    opened: list[str] = []

    def text_of(path: Path, report: ViolationReport) -> str | None:
        opened.append(path.name)
        return document.read_source(path, report)

    for module in (loader, settings_files, suites):
        monkeypatch.setattr(module, "read_source", text_of)
    return opened
