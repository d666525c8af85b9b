"""All errors of a pipeline file are reported at once, each at its place."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from convergence.pipelines.files.loader import load_pipeline
from convergence.pipelines.files.spec import PipelineSpec
from support.sample_pipelines import PATH, USAGE_COST, list_errors, write


@pytest.mark.parametrize(
    ("text", "violation"),
    [
        (
            USAGE_COST.replace("description:", "descripton:"),
            "2:1: descripton: unknown key; did you mean description; accepted: aliases, ",
        ),
        (
            USAGE_COST.replace("      granularity", "      granularty"),
            (
                "12:7: steps[0].config.granularty: unknown key; did you mean granularity; "
                "accepted: destination, endpoints, granularity, page_size, paging, since"
            ),
        ),
        (
            USAGE_COST.replace("granularity: day", "granularity: dayly"),
            (
                '12:20: steps[0].config.granularity: can\'t be "dayly"; did you mean day; '
                "accepted: day, hour"
            ),
        ),
        (
            USAGE_COST.replace("page_size: 10", "page_size: 5000"),
            "13:18: steps[0].config.page_size: must be at most 1000, not 5000",
        ),
        (
            USAGE_COST.replace("page_size: 10", "page_size: '10'"),
            '13:18: steps[0].config.page_size: must be a whole number, not the text "10"',
        ),
        (
            USAGE_COST.replace("page_size: 10", "paging: {kind: window, hours: 99, foo: 1}"),
            "13:37: steps[0].config.paging.hours: must be at most 48, not 99",
        ),
        (
            USAGE_COST.replace("page_size: 10", "paging: {kind: window, hurs: 9}"),
            (
                "13:30: steps[0].config.paging.hurs: unknown key; did you mean hours; "
                "accepted: hours, kind"
            ),
        ),
        (
            USAGE_COST.replace("sample.fetch", "sample.fetsh"),
            (
                '10:16: steps[0].processor: unknown processor "sample.fetsh"; '
                "did you mean sample.fetch; accepted: "
            ),
        ),
        (
            USAGE_COST.replace("sample.price", "sample.prepare"),
            (
                "15:14: steps[1].ps_type: sample.prepare needs a pipeline of scope platform; "
                "this pipeline has the scope org"
            ),
        ),
        (
            USAGE_COST.replace("    ps_type", "    processor: sample.price\n    ps_type"),
            "16:5: steps[1].ps_type: duplicate of processor",
        ),
        (
            USAGE_COST + "    depends_on: [extract_usge]\n",
            (
                '16:18: steps[1].depends_on[0]: unknown step "extract_usge"; '
                "did you mean extract_usage; accepted: extract_usage, transform_cost"
            ),
        ),
        (
            USAGE_COST + "    depends_on: [transform_cost]\n",
            "16:18: steps[1].depends_on[0]: transform_cost can't depend on itself",
        ),
        (
            USAGE_COST + "    depends_on: [extract_usage, extract_usage]\n",
            "16:33: steps[1].depends_on[1]: extract_usage is listed twice",
        ),
        (
            USAGE_COST.replace("    config:", "    depends_on: [transform_cost]\n    config:"),
            (
                "11:17: steps[0].depends_on: the steps depend on each other: "
                "extract_usage → transform_cost → extract_usage"
            ),
        ),
        (
            USAGE_COST.replace("transform_cost", "extract_usage"),
            "14:11: steps[1].step: extract_usage is also the step in line 9",
        ),
        (
            USAGE_COST.replace("step: transform_cost", "step: cost"),
            '14:11: steps[1].step: "cost" does not begin with a verb; accepted: create_…, ',
        ),
        (
            USAGE_COST.replace("step: transform_cost", "step: transform-cost"),
            "14:11: steps[1].step: must be snake_case: ",
        ),
        (
            USAGE_COST.replace('"0 6 * * *"', '"0 6 * *"'),
            "4:11: schedule: must be five cron fields",
        ),
        (USAGE_COST.replace('"0 6 * * *"', '"61 6 * * *"'), "4:11: schedule: is not a cron "),
        (USAGE_COST.replace('"0 6 * * *"', '"0 0 31 2 *"'), "4:11: schedule: is not a cron "),
        (
            USAGE_COST.replace('"0 6 * * *"', '"@dayly"'),
            '4:11: schedule: "@dayly" is not a preset schedule; accepted: @hourly, @daily, ',
        ),
        (
            USAGE_COST + "retries: many\n",
            '16:10: retries: must be a whole number, not the text "many"',
        ),
        (USAGE_COST + "retries: true\n", "16:10: retries: must be a whole number, not true"),
        (USAGE_COST + "retries: 1.0\n", "16:10: retries: must be a whole number, not 1.0"),
        (USAGE_COST + "retries: 11\n", "16:10: retries: must be at most 10, not 11"),
        (
            USAGE_COST.replace("sample-usage-cost", "1.10"),
            '1:14: pipeline_id: must be text: quote it, "1.10"',
        ),
        (
            USAGE_COST.replace("sample-usage-cost", "Usage_Cost"),
            "1:14: pipeline_id: must be kebab-case, such as openai-usage-cost",
        ),
        (USAGE_COST.replace("{type: string, format: date}", "{type: strin}"), "6:22: params.sta"),
        (
            USAGE_COST.replace("{type: string, format: date}", "{type: integer, format: date}"),
            "6:15: params.start_date: format is allowed for string only",
        ),
        (
            USAGE_COST.replace("{type: string, format: date}", "{type: string, default: 3}"),
            "6:15: params.start_date: its default is not valid: 3 is not of type 'string'",
        ),
        (
            USAGE_COST.replace("{type: string, format: date}", "{type: string, required: true}"),
            "6:40: params.start_date.required: a scheduled pipeline can't require a param",
        ),
        (
            USAGE_COST.replace("start_date:", "org_slug:"),
            "6:3: params.org_slug: org_slug is reserved: every org pipeline has this param",
        ),
        (USAGE_COST + "aliases: [/etc/passwd]\n", "16:11: aliases[0]: must be two or three "),
        (
            USAGE_COST + "quality: data_quality/none.json\n",
            '16:10: quality: there is no file "data_quality/none.json"',
        ),
        (
            USAGE_COST + "quality: ../secret.json\n",
            "16:10: quality: must be the path of a .json file under the folder",
        ),
        (USAGE_COST + "scope: [org]\n", "16:8: scope: can't be a list"),
        ("- a\n- b\n", "1:1: must be a mapping, not a list"),
        ("just words\n", '1:1: must be a mapping, not the text "just words"'),
        ("pipeline_id: a\n", "1:1: steps: is missing"),
        ("", "1:1: the file is empty"),
        (USAGE_COST.split("steps:", maxsplit=1)[0] + "steps: []\n", "8:8: steps: must have 1 en"),
        (USAGE_COST.split("steps:", maxsplit=1)[0] + "steps:\n", "8:7: steps: must be a list, no"),
        (
            USAGE_COST.split("steps:", maxsplit=1)[0] + "steps: [x, {}]\n",
            '8:9: steps[0]: must be a mapping, not the text "x"',
        ),
    ],
)
def test_a_violation_is_told_at_its_place(tmp_path: Path, text: str, violation: str) -> None:
    violations = list_errors(tmp_path, text)
    assert any(one.startswith(f"{PATH}:{violation}") for one in violations), "\n".join(violations)


def test_all_violations_of_a_file_are_told_at_once(tmp_path: Path) -> None:
    text = (
        USAGE_COST.replace("sample-usage-cost", "Usage_Cost")
        .replace("granularity: day", "granularity: NO")
        .replace("step: transform_cost", "step: cost")
        .replace("sample.price", "sample.prise")
    )
    violations = list_errors(tmp_path, text + "depend_on: []\nretries: many\n")
    assert [one.removeprefix(f"{PATH}:").split(": ")[:2] for one in violations] == [
        ["1:14", "pipeline_id"],
        ["12:20", "steps[0].config.granularity"],
        ["14:11", "steps[1].step"],
        ["15:14", "steps[1].ps_type"],
        ["16:1", "depend_on"],
        ["17:10", "retries"],
    ]


def test_the_long_form_shows_the_lines_around_and_a_caret(tmp_path: Path) -> None:
    violations = load_pipeline(
        write(tmp_path, PATH, USAGE_COST.replace("day\n", "dayly\n")), tmp_path
    )
    assert isinstance(violations, tuple)
    assert violations[0].render_excerpt().splitlines()[1:] == [
        "  11 |     config:",
        "  12 |       granularity: dayly",
        "     |                    ^",
        "  13 |       page_size: 10",
    ]


def _broken(values: dict[str, Any], path: tuple[str | int, ...], how: Callable[[Any], Any]) -> str:
    holder: Any = values
    for part in path[:-1]:
        holder = holder[part]
    holder[path[-1]] = how(holder[path[-1]])
    return yaml.safe_dump(values, sort_keys=False)


_PLACES: list[tuple[str | int, ...]] = [
    ("pipeline_id",),
    ("description",),
    ("scope",),
    ("schedule",),
    ("params",),
    ("params", "start_date"),
    ("params", "start_date", "type"),
    ("steps",),
    ("steps", 0),
    ("steps", 0, "step"),
    ("steps", 0, "processor"),
    ("steps", 0, "config"),
    ("steps", 0, "config", "page_size"),
]


@settings(max_examples=60)
@given(
    place=st.sampled_from(_PLACES),
    value=st.sampled_from([True, -1, 1.5, "…", [], ["x"], {"x": 1}, {"x": {"y": [1]}}, "a" * 5000]),
)
def test_a_value_of_the_wrong_kind_anywhere_is_a_violation_and_never_a_crash(
    tmp_path_factory: pytest.TempPathFactory, place: tuple[str | int, ...], value: Any
) -> None:
    root = tmp_path_factory.mktemp("configs")
    values = yaml.safe_load(USAGE_COST) | {"scope": "org"}
    text = _broken(copy.deepcopy(values), place, lambda _: value)
    result = load_pipeline(write(root, PATH, text), root)
    harmless = place == ("description",) or (place, value) in [
        (("params",), {}),
        (("steps", 0), {}),
    ]
    if isinstance(result, PipelineSpec):
        assert harmless
    else:
        lines = text.splitlines()
        assert all(1 <= violation.line <= len(lines) + 1 for violation in result)


def test_entries_with_violations_are_not_also_called_too_few(tmp_path: Path) -> None:
    text = USAGE_COST.split("steps:", maxsplit=1)[0] + "steps: [x]\n"
    assert list_errors(tmp_path, text) == [
        f'{PATH}:8:9: steps[0]: must be a mapping, not the text "x"',
    ]
