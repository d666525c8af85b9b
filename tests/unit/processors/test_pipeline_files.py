"""The pipelines that come with the platform: what they name exists, and they do what they must."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from convergence.pipelines.files.loader import load_pipeline
from convergence.pipelines.files.spec import PipelineSpec
from convergence.settings import PROJECT_ROOT
from convergence.warehouse.schemas import TableSchema
from convergence.warehouse.sql.source import read_source
from convergence.warehouse.tables.bootstrap import Layout

CONFIGS = PROJECT_ROOT / "include" / "configs"
PIPELINES = (
    "openai/cost/usage_cost.yml",
    "openai/cost/cost_extract.yml",
    "openai/cost/cost_calculation.yml",
    "openai/seed_csv.yml",
    "openai/subscriptions.yml",
    "anthropic/usage_cost.yml",
    "anthropic/seed_csv.yml",
    "deepseek/balance.yml",
    "platform/price_book_rollout.yml",
    "setup/initial/onetime_bootstrap.yml",
    "setup/organizations/dryrun.yml",
    "setup/organizations/onboarding.yml",
    "integrations/validate.yml",
)
FILE = re.compile(r"[a-z0-9_/]+\.(sql|json|csv)")


def spec(path: str) -> PipelineSpec:
    loaded = load_pipeline(CONFIGS / path, CONFIGS)
    assert isinstance(loaded, PipelineSpec), loaded
    return loaded


def texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for inner in value.values() for text in texts(inner)]
    if isinstance(value, list | tuple):
        return [text for inner in value for text in texts(inner)]
    return [value] if isinstance(value, str) else []


@pytest.mark.parametrize("path", PIPELINES)
def test_every_file_that_a_step_names_is_there(path: str) -> None:
    for step in spec(path).steps:
        named = texts(step.parsed.model_dump())
        files = [text for text in named if FILE.fullmatch(text)]
        assert [name for name in files if not (CONFIGS / name).is_file()] == []
        for name in files:
            if name.endswith(".json") and step.processor != "quality.expectations":
                assert TableSchema.load(CONFIGS / name).fields


def test_usage_and_cost_run_daily_and_answer_under_both_addresses() -> None:
    pipeline = spec("openai/cost/usage_cost.yml")
    assert pipeline.dag_id == "openai.cost.usage_cost"
    assert pipeline.aliases == ("openai/usage_cost",)
    assert pipeline.tables == ("openai_usage_daily_raw", "openai_cost_daily")
    written = yaml.safe_load((CONFIGS / "openai/cost/usage_cost.yml").read_text())
    assert written["schedule"] == "0 6 * * *"


def test_onboarding_makes_every_table_that_a_pipeline_fills() -> None:
    made: set[str] = set()
    for step in spec("setup/organizations/onboarding.yml").steps:
        config = step.parsed.model_dump()
        made |= {Path(name).stem for name in config["provider_tables"]}
        made |= set(Layout.load(CONFIGS / config["layout"]).config.tables)
    for path in PIPELINES:
        for step in spec(path).steps:
            if (table := step.parsed.model_dump().get("table")) is not None:
                assert {table} <= made


def test_anthropics_pipeline_answers_under_both_addresses_and_fills_three_tables() -> None:
    pipeline = spec("anthropic/usage_cost.yml")
    assert pipeline.aliases == ("anthropic/cost/usage_cost",)
    assert pipeline.tables == (
        "anthropic_usage_daily_raw",
        "anthropic_cost_daily",
        "anthropic_billed_daily",
    )


def test_every_part_of_cost_daily_that_a_step_names_is_given_to_new_orgs_too() -> None:
    (onboarding,) = spec("setup/organizations/onboarding.yml").steps
    given = onboarding.parsed.model_dump()["cost_sources"]
    for path in PIPELINES:
        for step in spec(path).steps:
            named = step.parsed.model_dump().get("source_view")
            assert named is None or named in given


def test_every_provider_in_cost_daily_gives_all_its_columns() -> None:
    view = (CONFIGS / "setup/organizations/onboarding/views/cost_daily.sql").read_text()
    listed = re.search(r"{% set columns %}(.*?){% endset %}", view, re.DOTALL)
    assert listed is not None
    columns = {name.strip() for name in listed[1].replace("\n", " ").split(",")}
    (onboarding,) = spec("setup/organizations/onboarding.yml").steps
    for name in onboarding.parsed.model_dump()["cost_sources"]:
        sql = read_source(CONFIGS / name, CONFIGS).text
        named = set(re.findall(r" AS ([A-Za-z_]+),?$", sql, re.MULTILINE))
        assert columns - named == set(), name
