"""What the loader makes of a sound pipeline file."""

from __future__ import annotations

from pathlib import Path

import pytest

from convergence.pipelines.files.loader import load_dag
from convergence.pipelines.files.spec import PipelineSpec
from convergence.settings import PROJECT_ROOT
from support.sample_pipelines import (
    PATH,
    PREPARE,
    USAGE_COST,
    changed,
    list_errors,
    loaded,
    record_files_read,
    write,
)


def test_the_path_is_the_identity(tmp_path: Path) -> None:
    spec = loaded(tmp_path)
    assert spec.dag_id == "sample.cost.usage_cost"
    assert spec.url_path == "sample/cost/usage_cost"
    assert spec.source == USAGE_COST
    assert loaded(tmp_path, PREPARE, "setup/prepare.yml").dag_id == "setup.prepare"


def test_a_step_follows_the_one_before_unless_it_says_otherwise(tmp_path: Path) -> None:
    text = changed(
        steps=[
            {"step": "extract_a", "processor": "sample.fetch"},
            {"step": "extract_b", "processor": "sample.fetch", "depends_on": []},
            {
                "step": "transform_c",
                "processor": "sample.price",
                "depends_on": ["extract_a", "extract_b"],
            },
            {"step": "validate_d", "processor": "sample.price"},
        ]
    )
    assert loaded(tmp_path, text).upstream == {
        "extract_a": (),
        "extract_b": (),
        "transform_c": ("extract_a", "extract_b"),
        "validate_d": ("transform_c",),
    }


def test_steps_hold_their_processors_own_model(tmp_path: Path) -> None:
    spec = loaded(tmp_path)
    assert spec.steps[0].parsed.model_dump()["page_size"] == 10
    assert spec.tables == ("sample_usage_daily_raw", "sample_cost_daily")


def test_params_become_one_json_schema_without_further_keys(tmp_path: Path) -> None:
    schema = loaded(tmp_path, PREPARE, "setup/prepare.yml").params_schema()
    assert schema == {
        "type": "object",
        "properties": {"org_slug": {"type": "string"}},
        "required": ["org_slug"],
        "additionalProperties": False,
    }


def test_one_dag_opens_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, PATH, USAGE_COST)
    write(tmp_path, "a/other.yml", PREPARE)
    opened = record_files_read(monkeypatch)
    assert isinstance(load_dag("sample.cost.usage_cost", tmp_path), PipelineSpec)
    assert opened == ["usage_cost.yml"]
    assert load_dag("no.such", tmp_path) is None
    assert load_dag("..", tmp_path) is None


def test_a_provider_must_be_in_the_registry_where_there_is_one(tmp_path: Path) -> None:
    text = USAGE_COST.replace("provider: openai", "provider: opnai")
    loaded(tmp_path, text)
    registry = PROJECT_ROOT / "include" / "configs" / "system" / "providers.yml"
    write(tmp_path, "system/providers.yml", registry.read_text())
    (violation,) = list_errors(tmp_path, text)
    assert violation.startswith(
        f'{PATH}:3:11: provider: unknown provider "opnai"; did you mean openai; accepted: '
    )
    loaded(tmp_path, USAGE_COST)


def test_channels_must_exist_where_they_are_listed(tmp_path: Path) -> None:
    text = USAGE_COST + "notify: {on_failure: [emial], on_success: []}\n"
    loaded(tmp_path, text)
    write(tmp_path, "notify_systems/email_notification/config.yml", "x: 1\n")
    assert list_errors(tmp_path, text) == [
        (
            f'{PATH}:16:23: notify.on_failure[0]: unknown channel "emial"; did you mean email; '
            "accepted: email"
        )
    ]
