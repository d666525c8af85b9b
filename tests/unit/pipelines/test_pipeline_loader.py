from __future__ import annotations

import copy
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from convergence.pipelines.checks import known_providers
from convergence.pipelines.document import MAX_BYTES
from convergence.pipelines.faults import ConfigFault, PipelineFilesError
from convergence.pipelines.loader import discover, load, load_all, load_dag, raise_faults
from convergence.pipelines.spec import PipelineSpec
from convergence.settings import PROJECT_ROOT
from sample_pipelines import PREPARE, USAGE_COST, write

PATH = "sample/cost/usage_cost.yml"


def told(root: Path, text: str, path: str = PATH) -> list[str]:
    loaded = load(write(root, path, text), root)
    assert isinstance(loaded, tuple), loaded
    return [str(fault) for fault in loaded]


def loaded(root: Path, text: str = USAGE_COST, path: str = PATH) -> PipelineSpec:
    spec = load(write(root, path, text), root)
    assert isinstance(spec, PipelineSpec), spec
    return spec


def changed(**changes: Any) -> str:
    values = yaml.safe_load(USAGE_COST)
    for key, value in changes.items():
        values[key] = value
    return yaml.safe_dump(values, sort_keys=False)


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


@pytest.mark.parametrize(
    ("text", "fault"),
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
                '10:16: steps[0].processor: no processor is named "sample.fetsh"; '
                "did you mean sample.fetch; accepted: "
            ),
        ),
        (
            USAGE_COST.replace("sample.price", "sample.prepare"),
            (
                "15:14: steps[1].ps_type: sample.prepare is for pipelines of scope platform; "
                "this one's is org"
            ),
        ),
        (
            USAGE_COST.replace("    ps_type", "    processor: sample.price\n    ps_type"),
            "16:5: steps[1].ps_type: said twice, also as processor",
        ),
        (
            USAGE_COST + "    depends_on: [extract_usge]\n",
            (
                '16:18: steps[1].depends_on[0]: no step is named "extract_usge"; '
                "did you mean extract_usage; accepted: extract_usage, transform_cost"
            ),
        ),
        (
            USAGE_COST + "    depends_on: [transform_cost]\n",
            "16:18: steps[1].depends_on[0]: transform_cost can't depend on itself",
        ),
        (
            USAGE_COST + "    depends_on: [extract_usage, extract_usage]\n",
            "16:33: steps[1].depends_on[1]: extract_usage is said twice",
        ),
        (
            USAGE_COST.replace("    config:", "    depends_on: [transform_cost]\n    config:"),
            (
                "11:17: steps[0].depends_on: the steps wait for each other: "
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
        (USAGE_COST.replace('"0 6 * * *"', '"61 6 * * *"'), "4:11: schedule: is no cron "),
        (USAGE_COST.replace('"0 6 * * *"', '"0 0 31 2 *"'), "4:11: schedule: is no cron "),
        (
            USAGE_COST.replace('"0 6 * * *"', '"@dayly"'),
            '4:11: schedule: "@dayly" is no preset of a schedule; accepted: @hourly, @daily, ',
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
            "6:15: params.start_date: format is only for string",
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
            "6:3: params.org_slug: org_slug is a name that every org pipeline has already",
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
def test_a_fault_is_told_at_its_place(tmp_path: Path, text: str, fault: str) -> None:
    faults = told(tmp_path, text)
    assert any(one.startswith(f"{PATH}:{fault}") for one in faults), "\n".join(faults)


def test_all_faults_of_a_file_are_told_at_once(tmp_path: Path) -> None:
    text = (
        USAGE_COST.replace("sample-usage-cost", "Usage_Cost")
        .replace("granularity: day", "granularity: NO")
        .replace("step: transform_cost", "step: cost")
        .replace("sample.price", "sample.prise")
    )
    faults = told(tmp_path, text + "depend_on: []\nretries: many\n")
    assert [one.removeprefix(f"{PATH}:").split(": ")[:2] for one in faults] == [
        ["1:14", "pipeline_id"],
        ["12:20", "steps[0].config.granularity"],
        ["14:11", "steps[1].step"],
        ["15:14", "steps[1].ps_type"],
        ["16:1", "depend_on"],
        ["17:10", "retries"],
    ]


def test_the_long_form_shows_the_lines_around_and_a_caret(tmp_path: Path) -> None:
    faults = load(write(tmp_path, PATH, USAGE_COST.replace("day\n", "dayly\n")), tmp_path)
    assert isinstance(faults, tuple)
    assert faults[0].long().splitlines()[1:] == [
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


@settings(max_examples=60, deadline=None)
@given(
    place=st.sampled_from(_PLACES),
    value=st.sampled_from([True, -1, 1.5, "…", [], ["x"], {"x": 1}, {"x": {"y": [1]}}, "a" * 5000]),
)
def test_a_value_of_the_wrong_kind_anywhere_is_a_fault_and_never_a_crash(
    tmp_path_factory: pytest.TempPathFactory, place: tuple[str | int, ...], value: Any
) -> None:
    root = tmp_path_factory.mktemp("configs")
    values = yaml.safe_load(USAGE_COST) | {"scope": "org"}
    text = _broken(copy.deepcopy(values), place, lambda _: value)
    result = load(write(root, PATH, text), root)
    harmless = place == ("description",) or (place, value) in [
        (("params",), {}),
        (("steps", 0), {}),
    ]
    if isinstance(result, PipelineSpec):
        assert harmless
    else:
        lines = text.splitlines()
        assert all(1 <= fault.line <= len(lines) + 1 for fault in result)


def test_settings_and_hidden_files_are_no_pipelines(tmp_path: Path) -> None:
    for path in (
        "system/providers.yml",
        "notify_systems/email_notification/config.yml",
        "setup/bootstrap/config.yml",
        "setup/bootstrap/config.yaml",
        ".hidden/a.yml",
        "a/.b.yml",
        "a/b.json",
        "openai/seed/data.csv",
    ):
        write(tmp_path, path, "x: 1\n")
    write(tmp_path, "b/two.yml", USAGE_COST)
    write(tmp_path, "a/one.yaml", PREPARE)
    (tmp_path / "c.yml").mkdir()
    found = [path.relative_to(tmp_path).as_posix() for path in discover(tmp_path)]
    assert found == ["a/one.yaml", "b/two.yml"]


@pytest.mark.parametrize(
    ("path", "fault"),
    [
        ("lonely.yml", "1:1: a pipeline is {provider}/{pipeline}.yml or one folder deeper"),
        ("a/b/c/d.yml", "1:1: a pipeline is {provider}/{pipeline}.yml or one folder deeper"),
        ("a/Usage-Cost.yml", "1:1: the path is the identity: Usage-Cost is not snake_case"),
        ("a b/c.yml", "1:1: the path is the identity: a b is not snake_case"),
        ("a/b.c.yml", "1:1: the path is the identity: b.c is not snake_case"),
        ("a/b.YML", "1:1: the file's ending is .YML; accepted: .yml, .yaml"),
    ],
)
def test_a_path_that_is_no_identity_is_a_fault(tmp_path: Path, path: str, fault: str) -> None:
    assert told(tmp_path, USAGE_COST, path) == [f"{path}:{fault}"]


def test_of_two_files_for_one_identity_the_yml_stays(tmp_path: Path) -> None:
    write(tmp_path, "a/b.yml", USAGE_COST)
    write(tmp_path, "a/b.yaml", PREPARE)
    catalogue = load_all(tmp_path)
    assert [spec.path for spec in catalogue.specs.values()] == ["a/b.yml"]
    assert [str(fault) for fault in catalogue.faults] == [
        "a/b.yaml:1:1: b.yml beside it claims the same identity"
    ]
    one = load_dag("a.b", tmp_path)
    assert isinstance(one, PipelineSpec)
    assert one.path == "a/b.yml"


def test_a_name_that_two_files_claim_stays_with_the_first(tmp_path: Path) -> None:
    write(tmp_path, "a/one.yml", USAGE_COST + "aliases: [x/alias]\n")
    write(tmp_path, "a/two.yml", USAGE_COST + "aliases: [x/alias, a/one]\n")
    catalogue = load_all(tmp_path)
    assert list(catalogue.specs) == ["a.one"]
    assert [str(fault) for fault in catalogue.faults] == [
        "a/two.yml:1:14: pipeline_id: sample-usage-cost is the pipeline_id of a/one.yml already",
        "a/two.yml:16:11: aliases[0]: x/alias is the address of a/one.yml already",
        "a/two.yml:16:20: aliases[1]: a/one is the address of a/one.yml already",
    ]


def test_a_file_that_is_refused_keeps_no_name_from_the_ones_after_it(tmp_path: Path) -> None:
    other = USAGE_COST.replace("sample-usage-cost", "sample-other")
    write(tmp_path, "a/one.yml", USAGE_COST)
    write(tmp_path, "a/two.yml", USAGE_COST + "aliases: [x/alias]\n")
    write(tmp_path, "a/three_of_them.yml", other)
    write(
        tmp_path,
        "b/last.yml",
        other.replace("sample-other", "sample-last") + "aliases: [x/alias]\n",
    )
    assert list(load_all(tmp_path).specs) == ["a.one", "a.three_of_them", "b.last"]


def test_entries_with_faults_are_not_also_called_too_few(tmp_path: Path) -> None:
    text = USAGE_COST.split("steps:", maxsplit=1)[0] + "steps: [x]\n"
    assert told(tmp_path, text) == [
        f'{PATH}:8:9: steps[0]: must be a mapping, not the text "x"',
    ]


def test_an_alias_never_takes_a_files_own_address_even_of_a_broken_one(tmp_path: Path) -> None:
    write(tmp_path, "a/one.yml", USAGE_COST + "aliases: [z/broken]\n")
    write(tmp_path, "z/broken.yml", "nonsense\n")
    assert list(load_all(tmp_path).specs) == []


def test_a_pipeline_is_found_by_address_and_alias(tmp_path: Path) -> None:
    write(tmp_path, PATH, USAGE_COST + "aliases: [sample/usage_cost]\n")
    catalogue = load_all(tmp_path)
    for address in ("sample/cost/usage_cost", "sample/usage_cost"):
        found = catalogue.find(address)
        assert found is not None
        assert found.dag_id == "sample.cost.usage_cost"
    assert catalogue.find("sample.cost.usage_cost") is None
    assert catalogue.find("sample/other") is None


def test_a_broken_file_touches_no_other(tmp_path: Path) -> None:
    write(tmp_path, "a/good.yml", USAGE_COST)
    for name, text in {
        "syntax": "a: [\n",
        "huge": "#" * (MAX_BYTES + 1),
        "empty": "",
        "unknown": USAGE_COST.replace("provider:", "provder:"),
    }.items():
        write(tmp_path, f"b/{name}.yml", text)
    (tmp_path / "b" / "binary.yml").write_bytes(b"a: \xff\xfe\n")
    (tmp_path / "b" / "gone.yml").symlink_to(tmp_path / "nowhere.yml")
    catalogue = load_all(tmp_path)
    assert list(catalogue.specs) == ["a.good"]
    assert sorted({fault.path for fault in catalogue.faults}) == [
        f"b/{name}.yml" for name in ("binary", "empty", "huge", "syntax", "unknown")
    ]


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_can_not_be_read_is_a_fault(tmp_path: Path) -> None:
    path = write(tmp_path, PATH, USAGE_COST)
    path.chmod(0)
    assert "can't be read" in str(load(path, tmp_path)[0])  # type: ignore[index]  # it is faults


def test_size_ends_at_its_cap_before_anything_is_parsed(tmp_path: Path) -> None:
    padding = "#" * (MAX_BYTES - len(USAGE_COST) - 1)
    assert loaded(tmp_path, f"{USAGE_COST}{padding}\n")
    assert told(tmp_path, f"{USAGE_COST}{padding}#\n") == [f"{PATH}:1:1: larger than 256 KiB"]


def test_text_that_is_not_utf_8_is_told_at_its_byte(tmp_path: Path) -> None:
    path = write(tmp_path, PATH, "")
    path.write_bytes(b"a: 1\nb: caf\xe9\n")
    (fault,) = load(path, tmp_path)
    assert str(fault) == f"{PATH}:2:7: not UTF-8: the byte 0xe9"


def test_one_dag_opens_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, PATH, USAGE_COST)
    write(tmp_path, "a/other.yml", PREPARE)
    opened: list[str] = []
    real = Path.open

    def counting(self: Path, *arguments: Any, **named: Any) -> Any:
        opened.append(self.name)
        return real(self, *arguments, **named)

    monkeypatch.setattr(Path, "open", counting)
    assert isinstance(load_dag("sample.cost.usage_cost", tmp_path), PipelineSpec)
    assert opened == ["usage_cost.yml"]
    assert load_dag("no.such", tmp_path) is None
    assert load_dag("..", tmp_path) is None


def test_a_provider_must_be_in_the_registry_where_there_is_one(tmp_path: Path) -> None:
    text = USAGE_COST.replace("provider: openai", "provider: opnai")
    loaded(tmp_path, text)
    known_providers.cache_clear()
    registry = PROJECT_ROOT / "include" / "configs" / "system" / "providers.yml"
    write(tmp_path, "system/providers.yml", registry.read_text())
    (fault,) = told(tmp_path, text)
    assert fault.startswith(
        f'{PATH}:3:11: provider: no provider is named "opnai"; did you mean openai; accepted: '
    )
    loaded(tmp_path, USAGE_COST)


def test_channels_must_exist_where_they_are_listed(tmp_path: Path) -> None:
    text = USAGE_COST + "notify: {on_failure: [emial], on_success: []}\n"
    loaded(tmp_path, text)
    write(tmp_path, "notify_systems/email_notification/config.yml", "x: 1\n")
    assert told(tmp_path, text) == [
        (
            f'{PATH}:16:23: notify.on_failure[0]: no channel is named "emial"; did you mean email; '
            "accepted: email"
        )
    ]


def test_one_error_lists_every_fault_of_every_file(tmp_path: Path) -> None:
    raise_faults(tmp_path)
    write(tmp_path, "a/one.yml", USAGE_COST.replace("description:", "descripton:"))
    write(tmp_path, "b/two.yml", "a: [\n")
    with pytest.raises(PipelineFilesError) as raised:
        raise_faults(tmp_path)
    lines = str(raised.value).splitlines()
    assert lines[0] == "3 faults in 2 pipeline files"
    assert [line.split(": ")[0] for line in lines if line.startswith(("a/", "b/"))] == [
        "a/one.yml:1:1",
        "a/one.yml:2:1",
        "b/two.yml:2:1",
    ]
    assert all(isinstance(fault, ConfigFault) for fault in raised.value.faults)
