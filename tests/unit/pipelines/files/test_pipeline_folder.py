"""The files of a folder of pipelines: which they are, and what they claim from each other."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from convergence.pipelines.files.all_violations import raise_violations
from convergence.pipelines.files.document import MAX_BYTES
from convergence.pipelines.files.loader import (
    find_pipeline_files,
    load_all,
    load_dag,
    load_pipeline,
)
from convergence.pipelines.files.spec import PipelineSpec
from convergence.pipelines.files.violations import PipelineFilesError, Violation
from support.sample_pipelines import PATH, PREPARE, USAGE_COST, list_errors, loaded, write


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
    found = [path.relative_to(tmp_path).as_posix() for path in find_pipeline_files(tmp_path)]
    assert found == ["a/one.yaml", "b/two.yml"]


@pytest.mark.parametrize(
    ("path", "violation"),
    [
        ("lonely.yml", "1:1: a pipeline's path is {provider}/{pipeline}.yml or one folder deeper"),
        ("a/b/c/d.yml", "1:1: a pipeline's path is {provider}/{pipeline}.yml or one folder deeper"),
        (
            "a/Usage-Cost.yml",
            "1:1: the path is the pipeline's identity: Usage-Cost is not snake_case",
        ),
        ("a b/c.yml", "1:1: the path is the pipeline's identity: a b is not snake_case"),
        ("a/b.c.yml", "1:1: the path is the pipeline's identity: b.c is not snake_case"),
        ("a/b.YML", "1:1: the file has the suffix .YML; accepted: .yml, .yaml"),
    ],
)
def test_a_path_that_is_no_identity_is_a_violation(
    tmp_path: Path, path: str, violation: str
) -> None:
    assert list_errors(tmp_path, USAGE_COST, path) == [f"{path}:{violation}"]


def test_of_two_files_for_one_identity_the_yml_stays(tmp_path: Path) -> None:
    write(tmp_path, "a/b.yml", USAGE_COST)
    write(tmp_path, "a/b.yaml", PREPARE)
    catalogue = load_all(tmp_path)
    assert [spec.path for spec in catalogue.specs.values()] == ["a/b.yml"]
    assert [str(violation) for violation in catalogue.violations] == [
        "a/b.yaml:1:1: b.yml in the same folder claims the same identity"
    ]
    one = load_dag("a.b", tmp_path)
    assert isinstance(one, PipelineSpec)
    assert one.path == "a/b.yml"


def test_a_name_that_two_files_claim_stays_with_the_first(tmp_path: Path) -> None:
    write(tmp_path, "a/one.yml", USAGE_COST + "aliases: [x/alias]\n")
    write(tmp_path, "a/two.yml", USAGE_COST + "aliases: [x/alias, a/one]\n")
    catalogue = load_all(tmp_path)
    assert list(catalogue.specs) == ["a.one"]
    assert [str(violation) for violation in catalogue.violations] == [
        "a/two.yml:1:14: pipeline_id: sample-usage-cost is already the pipeline_id of a/one.yml",
        "a/two.yml:16:11: aliases[0]: x/alias is already the address of a/one.yml",
        "a/two.yml:16:20: aliases[1]: a/one is already the address of a/one.yml",
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
    assert sorted({violation.path for violation in catalogue.violations}) == [
        f"b/{name}.yml" for name in ("binary", "empty", "huge", "syntax", "unknown")
    ]


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_can_not_be_read_is_a_violation(tmp_path: Path) -> None:
    path = write(tmp_path, PATH, USAGE_COST)
    path.chmod(0)
    assert "can't be read" in str(load_pipeline(path, tmp_path)[0])  # type: ignore[index]  # it is violations


def test_size_ends_at_its_cap_before_anything_is_parsed(tmp_path: Path) -> None:
    padding = "#" * (MAX_BYTES - len(USAGE_COST) - 1)
    assert loaded(tmp_path, f"{USAGE_COST}{padding}\n")
    assert list_errors(tmp_path, f"{USAGE_COST}{padding}#\n") == [
        f"{PATH}:1:1: larger than 256 KiB"
    ]


def test_text_that_is_not_utf_8_is_told_at_its_byte(tmp_path: Path) -> None:
    path = write(tmp_path, PATH, "")
    path.write_bytes(b"a: 1\nb: caf\xe9\n")
    (violation,) = load_pipeline(path, tmp_path)
    assert str(violation) == f"{PATH}:2:7: not UTF-8: the byte 0xe9"


def test_one_error_lists_every_violation_of_every_file(tmp_path: Path) -> None:
    raise_violations(tmp_path)
    write(tmp_path, "a/one.yml", USAGE_COST.replace("description:", "descripton:"))
    write(tmp_path, "b/two.yml", "a: [\n")
    with pytest.raises(PipelineFilesError) as raised:
        raise_violations(tmp_path)
    lines = str(raised.value).splitlines()
    assert lines[0] == "3 errors in 2 files"
    assert [line.split(": ")[0] for line in lines if line.startswith(("a/", "b/"))] == [
        "a/one.yml:1:1",
        "a/one.yml:2:1",
        "b/two.yml:2:1",
    ]
    assert all(isinstance(violation, Violation) for violation in raised.value.violations)
