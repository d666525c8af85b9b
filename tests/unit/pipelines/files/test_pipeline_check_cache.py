"""What the check of all configuration files remembers, and when it checks again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from convergence.file_versions import changed_files, file_versions
from convergence.pipelines.files import all_violations as checked
from convergence.pipelines.files.check_cache import CheckCache
from convergence.pipelines.files.violations import PipelineFilesError, Violation
from convergence.settings import get_settings
from support.sample_pipelines import USAGE_COST, write

HOUR_NS = 3_600_000_000_000
FOUND = (
    Violation(
        path="a/b.yml",
        line=3,
        column=1,
        key="steps[0]",
        message="wrong",
        accepted=("x", "y"),
        excerpt=((2, "steps:"), (3, "- a")),
    ),
    Violation(path="c/d.yml", line=1, column=1, key="", message="not YAML", suggestion="z"),
)


class Files:
    """A folder of files, a clock that is an hour ahead of them, and a count of checks."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.kept = root.parent / "var" / "cache" / "kept.json"
        self.checks = 0
        self.ahead_ns = HOUR_NS
        root.mkdir()
        (root / "one.yml").write_text("one: 1\n")

    def result(self) -> tuple[Violation, ...]:
        cache = CheckCache(self.kept, now_ns=lambda: self._newest() + self.ahead_ns)
        return cache.get(file_versions(self.root), self._check)

    def _newest(self) -> int:
        return max(path.stat().st_ctime_ns for path in self.root.iterdir())

    def _check(self) -> tuple[Violation, ...]:
        self.checks += 1
        return FOUND


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path / "configs")


def test_files_that_stay_the_same_are_checked_once(files: Files) -> None:
    assert files.result() == FOUND
    assert files.result() == FOUND
    assert files.checks == 1


def _edit(root: Path) -> None:
    (root / "one.yml").write_text("one: 2\n")


def _replace_by_an_older(root: Path) -> None:
    kept = (root / "one.yml").stat()
    (root.parent / "other").write_text("two: 1\n")
    os.utime(root.parent / "other", ns=(kept.st_atime_ns, kept.st_mtime_ns))
    (root.parent / "other").replace(root / "one.yml")


def _add(root: Path) -> None:
    (root / "two.txt").write_text("a template\n")


def _rename(root: Path) -> None:
    (root / "one.yml").rename(root / "two.yml")


@pytest.mark.parametrize("change", [_edit, _replace_by_an_older, _add, _rename])
def test_any_change_is_checked(files: Files, change: object) -> None:
    files.result()
    assert callable(change)
    change(files.root)
    files.result()
    assert files.checks == 2


def test_a_file_that_may_change_again_unseen_is_not_remembered(files: Files) -> None:
    files.ahead_ns = 1_000_000_000
    files.result()
    files.result()
    assert files.checks == 2


@pytest.mark.parametrize("text", ["", "{", "[]", '{"key": 1}'])
def test_what_was_kept_and_can_not_be_read_is_made_anew(files: Files, text: str) -> None:
    files.result()
    files.kept.write_text(text)
    assert files.result() == FOUND
    assert files.checks == 2


def test_without_a_place_to_keep_it_each_check_is_made(files: Files) -> None:
    files.kept.parent.parent.mkdir()
    files.kept.parent.write_text("a file where the folder should be")
    assert files.result() == files.result() == FOUND
    assert files.checks == 2


def test_the_dag_files_check_remembers_its_error_and_sees_the_corrected_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "configs"
    write(root, "sample/cost/usage_cost.yml", USAGE_COST.replace("sample.fetch", "sample.fetsh"))
    monkeypatch.setenv("CONVERGENCE_CONFIGS_DIR", str(root))
    monkeypatch.setenv("CONVERGENCE_VAR_DIR", str(tmp_path / "var"))
    get_settings.cache_clear()
    calls: list[Path] = []
    real = checked.find_violations

    def counting(at: Path) -> tuple[Violation, ...]:
        calls.append(at)
        return real(at)

    monkeypatch.setattr(checked, "find_violations", counting)
    monkeypatch.setattr("convergence.pipelines.files.check_cache._SETTLED_NS", -HOUR_NS)
    messages = []
    for _ in range(2):
        with pytest.raises(PipelineFilesError) as error:
            checked.raise_violations()
        messages.append(str(error.value))
    assert messages[0] == messages[1]
    assert "sample.fetsh" in messages[0]
    assert calls == [root]
    write(root, "sample/cost/usage_cost.yml", USAGE_COST)
    checked.raise_violations()
    assert calls == [root, root]


def test_changed_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    before = file_versions(tmp_path)
    (tmp_path / "b").write_text("2")
    assert changed_files(before, file_versions(tmp_path)) == [str(tmp_path / "b")]
