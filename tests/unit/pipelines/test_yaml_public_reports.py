"""Mistakes in YAML that public reports of DAG factories describe: each has its line and reason."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from convergence.pipelines.files.loader import load_pipeline
from convergence.settings import PROJECT_ROOT

HEAD = "pipeline_id: x-y\ndescription: d\nprovider: openai\n"
STEP = "  - step: validate_key\n    processor: integrations.validate_openai\n"
STEPS = f"steps:\n{STEP}"
CYCLE = (
    f"steps:\n{STEP}    depends_on: [validate_again]\n"
    f"{STEP.replace('validate_key', 'validate_again')}    depends_on: [validate_key]\n"
)


@pytest.fixture(scope="module")
def configs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    copied = tmp_path_factory.mktemp("configs") / "configs"
    shutil.copytree(PROJECT_ROOT / "include" / "configs", copied)
    return copied


def errors_of(configs: Path, text: str) -> list[str] | None:
    """What the loader says to a file; None where it accepts it."""
    path = configs / "openai" / "cost" / "reported.yml"
    path.write_text(text, encoding="utf-8")
    loaded = load_pipeline(path, configs)
    return [str(error) for error in loaded] if isinstance(loaded, list | tuple) else None


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        pytest.param(f"{HEAD}catch_up: false\n{STEPS}", 4, "catch_up", id="dag-factory431"),
        pytest.param(
            f'{HEAD}schedule: "0 6 * * *"\nschedule: "0 7 * * *"\n{STEPS}', 5, "line 4", id="key"
        ),
        pytest.param(HEAD + STEPS + STEP, 7, "line 5", id="step"),
        pytest.param(f"{HEAD}schedule: 6:30\n{STEPS}", 4, "quote it", id="sexagesimal"),
        pytest.param(f'{HEAD}schedule: "0 0 31 2 *"\n{STEPS}', 4, "not a cron", id="never"),
        pytest.param(f'{HEAD}schedule: "*/5 0 6 * * *"\n{STEPS}', 4, "five", id="seconds"),
        pytest.param(f'{HEAD}retries: "3"\n{STEPS}', 4, "whole number", id="text"),
        pytest.param(f"{HEAD}retries: yes\n{STEPS}", 4, "quote it", id="yes"),
        pytest.param(HEAD + CYCLE, 7, "depend on each other", id="cycle"),
        pytest.param("x: &a {retries: 3}\n" + HEAD + STEPS, 1, "anchor", id="anchor"),
        pytest.param(f"{HEAD}\tschedule: x\n{STEPS}", 4, "tab", id="tab"),
    ],
)
def test_a_mistake_is_one_error_with_its_line(
    configs: Path, text: str, line: int, reason: str
) -> None:
    errors = errors_of(configs, text)
    assert errors is not None
    (error,) = errors
    assert error.startswith(f"openai/cost/reported.yml:{line}:")
    assert reason in error


@pytest.mark.parametrize("schedule", ['"0 6 * * *"', "0 6 * * *"])
def test_a_schedule_may_be_quoted_or_not(configs: Path, schedule: str) -> None:
    assert errors_of(configs, f"{HEAD}schedule: {schedule}\n{STEPS}") is None
