"""The pipelines that come with the platform: what they name exists, and they do what they must."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from convergence.pipelines.files.loader import load_pipeline
from convergence.pipelines.files.spec import PipelineSpec
from convergence.processors.lib.daily.cost_view import list_source_columns
from convergence.providers.cost_streams import CostBasis, list_streams
from convergence.providers.registry import load_registry_at
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


def list_bases() -> list[CostBasis]:
    streams = list_streams(load_registry_at(CONFIGS))
    return [basis for stream in streams for basis in stream.declared.bases.values()]


def test_every_view_that_a_step_names_is_of_a_cost_stream() -> None:
    declared = {basis.view for basis in list_bases()}
    for path in PIPELINES:
        for step in spec(path).steps:
            named = step.parsed.model_dump().get("source_view")
            assert named is None or named in declared


def test_every_basis_of_a_stream_names_a_pipeline_that_fills_its_table() -> None:
    files = [path.relative_to(CONFIGS).as_posix() for path in CONFIGS.glob("*/**/*.yml")]
    folders = ("system/", "notify_systems/", "setup/")
    pipelines = [
        spec(one) for one in files if not one.startswith(folders) and "config.yml" not in one
    ]
    specs = {one.pipeline_id: one for one in pipelines}
    for basis in list_bases():
        tables = specs[basis.pipeline].tables
        assert basis.monthly or basis.table in tables
        assert (CONFIGS / basis.schema_file).is_file()


def test_every_pipeline_of_a_basis_publishes_its_stream() -> None:
    named = [path.relative_to(CONFIGS).as_posix() for path in CONFIGS.glob("*/**/*.yml")]
    folders = ("system/", "notify_systems/", "setup/")
    files = [one for one in named if not one.startswith(folders) and "config.yml" not in one]
    published = {
        (one.pipeline_id, stream)
        for one in map(spec, files)
        for step in one.steps
        if step.ps_type == "costs.authoritative"
        for stream in step.parsed.model_dump()["streams"]
    }
    for stream in list_streams(load_registry_at(CONFIGS)):
        for basis in stream.declared.bases.values():
            assert (basis.pipeline, stream.id) in published


def test_the_view_of_every_basis_has_all_columns() -> None:
    columns = set(list_source_columns(CONFIGS))
    for basis in list_bases():
        sql = read_source(CONFIGS / basis.view, CONFIGS).text
        named = set(re.findall(r" AS ([A-Za-z_]+),?$", sql, re.MULTILINE))
        assert columns - named == set(), basis.view
