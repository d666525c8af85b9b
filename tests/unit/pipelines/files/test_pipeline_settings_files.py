from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from convergence.pipelines.files.all_violations import find_violations, raise_violations
from convergence.pipelines.files.settings_files import (
    MODELS,
    check_settings_files,
    find_settings_files,
)
from convergence.pipelines.files.violations import PipelineFilesError
from convergence.pipelines.lint import main
from convergence.settings import PROJECT_ROOT

CONFIGS = PROJECT_ROOT / "include" / "configs"
EMAIL = "notify_systems/email_notification"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("system", "notify_systems"):
        shutil.copytree(CONFIGS / name, tmp_path / name)
    return tmp_path


Change = Callable[[str], str]


def list_errors_after(root: Path, path: str, change: Change) -> list[str]:
    file = root / path
    file.write_text(change(file.read_text()))
    return [str(violation) for violation in check_settings_files(root)]


def test_the_platforms_own_settings_have_no_violations_and_each_has_a_model() -> None:
    assert [str(violation) for violation in find_violations(CONFIGS)] == []
    assert {path.relative_to(CONFIGS).as_posix() for path in find_settings_files(CONFIGS)} == set(
        MODELS
    )


@pytest.mark.parametrize(
    ("path", "change", "violation"),
    [
        (
            f"{EMAIL}/config.yml",
            lambda text: text.replace("timeout_seconds:", "timeout_second:"),
            (
                f"{EMAIL}/config.yml:3:1: timeout_second: unknown key; "
                "did you mean timeout_seconds; accepted: attempts, connection, from_email, "
                "recipients, retry_delay_seconds, templates, timeout_seconds, triggers"
            ),
        ),
        (
            f"{EMAIL}/config.yml",
            lambda text: text.replace("[admin_email]", "[admin_email, Ann <ann@x.co>]"),
            (
                f"{EMAIL}/config.yml:11:31: recipients.organization[1]: "
                'must be an email address such as finance@example.com, not "Ann <ann@x.co>"'
            ),
        ),
        (
            f"{EMAIL}/config.yml",
            lambda text: text.replace("organization.html.j2", "gone.html.j2"),
            f"{EMAIL}/templates/gone.html.j2:1:1: A template can't be read: No such file",
        ),
        (
            f"{EMAIL}/templates/organization.text.j2",
            lambda text: f"one\n{{{{ report.nothing }}}}\n{text}",
            f"{EMAIL}/templates/organization.text.j2:2:1: A template is wrong: ",
        ),
        (
            "notify_systems/slack_notification/templates/platform.text.j2",
            lambda text: f"{text}{{% if %}}",
            "notify_systems/slack_notification/templates/platform.text.j2:12:1: A template is",
        ),
        (
            "system/run_costs.yml",
            lambda text: text.replace("currency: USD", "currency: dollars"),
            "system/run_costs.yml:",
        ),
        (
            "system/plans.yml",
            lambda text: f"{text}\nsurprise: 1\n",
            "surprise: unknown key",
        ),
        (
            "system/providers.yml",
            lambda text: text.replace("kind: llm", "kind: lm", 1),
            'kind: can\'t be "lm"',
        ),
    ],
)
def test_a_violation_of_settings_is_told_at_its_place(
    root: Path, path: str, change: Change, violation: str
) -> None:
    (line, *more) = list_errors_after(root, path, change)
    assert violation in line
    assert more == []


def test_violations_of_settings_are_raised_and_linted_beside_those_of_pipelines(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    list_errors_after(root, f"{EMAIL}/config.yml", lambda text: f"{text}surprise: 1\n")
    (root / "acme").mkdir()
    (root / "acme/broken.yml").write_text("pipeline_id: x\n")
    with pytest.raises(PipelineFilesError, match=r"surprise: unknown key") as caught:
        raise_violations(root)
    assert {violation.path for violation in caught.value.violations} == {
        "acme/broken.yml",
        f"{EMAIL}/config.yml",
    }
    assert main(["--root", str(root), "--short", str(root / EMAIL / "config.yml")]) == 1
    assert capsys.readouterr().out.endswith("1 files checked, 1 errors in 1\n")


def test_settings_that_nobody_reads_are_still_read_strictly(root: Path) -> None:
    (root / "system/other.yml").write_text("a: no\n")
    (violation,) = check_settings_files(root)
    assert violation.place == ("system/other.yml", 1, 4)
