from __future__ import annotations

import sys
from pathlib import Path

import pytest

from convergence.pipelines.lint import main
from convergence.settings import PROJECT_ROOT
from stack import guarded
from support.sample_pipelines import PREPARE, USAGE_COST, write


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path, "a/good.yml", USAGE_COST)
    write(tmp_path, "b/bad.yml", PREPARE.replace("scope: platform", "scope: plattform"))
    write(tmp_path, "b/worse.yml", "x: [\n")
    return tmp_path


def test_every_violation_is_printed_and_the_exit_code_says_so(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--root", str(root)]) == 1
    printed = capsys.readouterr().out
    assert 'b/bad.yml:3:8: scope: can\'t be "plattform"; did you mean platform' in printed
    assert "  3 | scope: plattform\n    |        ^\n" in printed
    assert "b/worse.yml:2:1: not YAML" in printed
    assert printed.endswith("3 files checked, 2 errors in 2\n")


def test_the_short_form_is_one_line_each(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--root", str(root), "--short", str(root / "b")]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines[:-1]] == ["b/bad.yml", "b/worse.yml"]


def test_only_what_was_asked_about_is_told(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--root", str(root), str(root / "a")]) == 0
    assert capsys.readouterr().out == "1 files checked, 0 errors in 0\n"
    assert main(["--root", str(root), str(root / "b" / "worse.yml")]) == 1


@pytest.mark.parametrize("path", ["nowhere.yml", "..", "notes.txt"])
def test_a_path_that_is_no_pipeline_is_refused(
    root: Path, path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "notes.txt").touch()
    assert main(["--root", str(root), str(root / path)]) == 2
    assert str(root / path) in capsys.readouterr().err


def test_the_linter_runs_without_airflow() -> None:
    program = (
        "import sys\n"
        "from convergence.pipelines.lint import main\n"
        "code = main([])\n"
        "assert 'airflow' not in sys.modules, 'airflow was imported'\n"
        "sys.exit(code)\n"
    )
    done = guarded.run([sys.executable, "-c", program], cwd=PROJECT_ROOT / "plugins", timeout=110)
    assert done.returncode == 0, done.stdout + done.stderr
