from __future__ import annotations

from pathlib import Path

import yaml

from convergence.pipelines.dags.docs import docs_md, tags
from convergence.pipelines.files.loader import load_pipeline
from convergence.pipelines.files.messages import accepted_keys
from convergence.pipelines.files.spec import PipelineSpec
from convergence.settings import PROJECT_ROOT
from support.sample_pipelines import USAGE_COST, write


def loaded(root: Path, text: str) -> PipelineSpec:
    spec = load_pipeline(write(root, "sample/cost/usage_cost.yml", text), root)
    assert isinstance(spec, PipelineSpec), spec
    return spec


def test_the_documentation_says_what_is_done_when_and_where_it_goes(tmp_path: Path) -> None:
    text = docs_md(loaded(tmp_path, USAGE_COST))
    for part in (
        "Daily usage and cost of a sample provider",
        "`0 6 * * *` (UTC)",
        "`sample_usage_daily_raw`, `sample_cost_daily`",
        "| `extract_usage` | `sample.fetch` | Fetches usage, page by page. |",
        "| `transform_cost` | `sample.price` | Prices what was fetched. | `extract_usage` |",
        "| `start_date` | string, date |",
        "sample/cost/usage_cost.yml",
    ):
        assert part in text
    assert f"```yaml\n{USAGE_COST.rstrip()}\n```" in text


def test_a_source_can_not_break_out_of_its_fence_or_a_cell_out_of_its_table(
    tmp_path: Path,
) -> None:
    source = USAGE_COST.replace("Daily usage", "a | b") + "# ````\n"
    text = docs_md(loaded(tmp_path, source))
    assert f"`````yaml\n{source.rstrip()}\n`````" in text
    assert "### a \\| b and cost" in text


def test_tags_are_provider_scope_and_cadence(tmp_path: Path) -> None:
    spec = loaded(tmp_path, USAGE_COST + "tags: [finance]\n")
    assert tags(spec) == ["daily", "finance", "openai", "org"]


def test_the_written_example_uses_keys_that_exist() -> None:
    text = (PROJECT_ROOT / "docs" / "pipelines.md").read_text()
    example = yaml.safe_load(text.split("```yaml\n")[1].split("```")[0])
    assert set(example) <= set(accepted_keys(PipelineSpec, ()))
    for step in example["steps"]:
        assert set(step) <= set(accepted_keys(PipelineSpec, ("steps", 0)))
