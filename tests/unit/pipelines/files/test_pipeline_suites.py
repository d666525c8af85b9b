from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from convergence.pipelines.files.loader import load_pipeline
from convergence.pipelines.files.spec import PipelineSpec
from convergence.pipelines.files.suites import check_suite, find_suites
from convergence.settings import PROJECT_ROOT
from support.sample_pipelines import USAGE_COST, write

CONFIGS = PROJECT_ROOT / "include" / "configs"
SUITE = "data_quality/expectations/usage_suite.json"
SCHEMA = {
    "table": "usage",
    "description": "A table of the tests",
    "partition": {"field": "usage_date", "type": "DAY"},
    "fields": [
        {"name": "usage_date", "type": "DATE", "description": "UTC day."},
        {"name": "model", "type": "STRING", "description": "Model."},
        {"name": "list_cost", "type": "NUMERIC", "description": "Cost."},
        {"name": "extra", "type": "JSON", "description": "The rest."},
    ],
}


def list_suite_errors(root: Path, *expectations: Any, text: str = "", **changes: Any) -> list[str]:
    write(root, "sample/schemas/usage.json", json.dumps(SCHEMA))
    suite = {
        "description": "What usage must be like",
        "tables": {"usage": "sample/schemas/usage.json"},
        "expectations": list(expectations),
        **changes,
    }
    path = write(root, SUITE, text or json.dumps(suite, indent=2))
    return [str(violation) for violation in check_suite(path, root)]


def rule(kind: str = "not_null", **says: Any) -> dict[str, Any]:
    return {"id": "rule", "severity": "stop", "expect": kind, "table": "usage", **says}


def test_a_sound_suite_has_no_violations(tmp_path: Path) -> None:
    assert list_suite_errors(tmp_path, rule(columns=["model"], where={"model": "x"})) == []


@pytest.mark.parametrize(
    ("wrong", "violation"),
    [
        (
            rule(columns=["modle"]),
            (
                f'{SUITE}:13:9: expectations[0].columns[0]: unknown column of usage "modle"; '
                "did you mean model; accepted: extra, list_cost, model, usage_date"
            ),
        ),
        (
            rule(columns=["model"], where={"modl": "x"}),
            (
                f'{SUITE}:16:17: expectations[0].where.modl: unknown column of usage "modl"; '
                "did you mean model; accepted: extra, list_cost, model, usage_date"
            ),
        ),
        (
            rule(columns=["model"], table="usages"),
            (
                f'{SUITE}:11:16: expectations[0].table: unknown table "usages"; '
                "did you mean usage; accepted: usage"
            ),
        ),
        (
            rule("range", columns=["model"], minimum=0),
            (
                f"{SUITE}:13:9: expectations[0].columns[0]: model is STRING; "
                "accepted: BIGNUMERIC, INT64, NUMERIC"
            ),
        ),
        (
            rule("not_nul", columns=["model"]),
            (
                f'{SUITE}:7:5: expectations[0]: expect can\'t be "not_nul"; did you mean not_null; '
                "accepted: not_null, unique, range, accepted_values, row_count_vs_yesterday, "
                "sums_tie"
            ),
        ),
        (
            rule(columns=["model"], colums=[]),
            (
                f"{SUITE}:15:7: expectations[0].colums: unknown key; did you mean columns; "
                "accepted: columns, expect, id, severity, table, where"
            ),
        ),
        (
            rule("range", columns=["list_cost"], minimum=2, maximum="1"),
            f"{SUITE}:7:5: expectations[0]: the minimum is above the maximum, not a mapping",
        ),
    ],
)
def test_a_violation_is_told_at_its_place(tmp_path: Path, wrong: Any, violation: str) -> None:
    assert list_suite_errors(tmp_path, wrong) == [violation]


def test_both_sides_of_an_equation_are_checked(tmp_path: Path) -> None:
    sums = {"id": "sums", "severity": "warn", "expect": "sums_tie"}
    side = {"table": "usage", "columns": ["list_cost"], "by": ["model"]}
    wrong = {**side, "columns": ["list_costs"], "by": ["extra"]}
    assert list_suite_errors(tmp_path, {**sums, "left": side, "right": side}) == []
    violations = list_suite_errors(tmp_path, {**sums, "left": side, "right": wrong})
    assert [violation.partition(": ")[2].partition(":")[0] for violation in violations] == [
        "expectations[0].right.columns[0]",
        "expectations[0].right.by[0]",
    ]


def test_names_that_stand_twice_and_schemas_that_are_missing_are_violations(tmp_path: Path) -> None:
    twice = list_suite_errors(tmp_path, rule(columns=["model"]), rule(columns=["model"]))
    assert twice == [f"{SUITE}:17:13: expectations[1].id: rule is also the id in line 8"]
    missing = list_suite_errors(
        tmp_path, rule(columns=["model"]), tables={"usage": "sample/gone.json"}
    )
    assert missing == [f"{SUITE}:4:14: tables.usage: Schema file is missing: sample/gone.json"]


@pytest.mark.parametrize(
    ("text", "violation"),
    [
        ("", ":1:1: the file is empty"),
        ('{"description": ', ":2:1: not YAML"),
        ("description: words", ":1:1: not JSON: Expecting value"),
        ("[1,\n 2,]", ":2:4: not JSON: "),
    ],
)
def test_what_is_no_json_is_told_by_line(tmp_path: Path, text: str, violation: str) -> None:
    (first, *_) = list_suite_errors(tmp_path, text=text or "\n")
    assert first.startswith(SUITE + violation)


def test_the_suites_that_come_with_the_platform_have_no_violations() -> None:
    files = find_suites(CONFIGS)
    assert "billing_cost_suite.json" in {path.name for path in files}
    assert [str(violation) for path in files for violation in check_suite(path, CONFIGS)] == []


def test_quality_adds_a_last_step_after_all_others(tmp_path: Path) -> None:
    text = USAGE_COST.replace("    ps_type: sample.price\n", "    ps_type: sample.price\n")
    text += f"    depends_on: []\nquality: {SUITE}\n"
    list_suite_errors(tmp_path, rule(columns=["model"]))
    spec = load_pipeline(write(tmp_path, "sample/cost/usage_cost.yml", text), tmp_path)
    assert isinstance(spec, PipelineSpec)
    assert spec.steps[-1].processor == "quality.expectations"
    assert spec.upstream["validate_quality"] == ("extract_usage", "transform_cost")
    assert spec.build_info().upstream["validate_quality"] == ("extract_usage", "transform_cost")
    assert spec.steps[-1].parsed.model_dump() == {"suite": SUITE}


def test_a_step_of_that_name_or_a_platform_pipeline_is_refused(tmp_path: Path) -> None:
    text = USAGE_COST.replace("step: transform_cost", "step: validate_quality")
    list_suite_errors(tmp_path, rule(columns=["model"]))
    violations = load_pipeline(
        write(tmp_path, "sample/cost/usage_cost.yml", f"{text}quality: {SUITE}\n"), tmp_path
    )
    assert isinstance(violations, tuple)
    assert "is the step that quality: adds" in str(violations[0])
