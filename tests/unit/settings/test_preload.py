"""Which code is imported before a fork, and what happens when it changes afterwards."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from convergence import preload
from convergence.preload import CodeGuard


@pytest.fixture
def code(tmp_path: Path) -> Path:
    root = tmp_path / "code"
    (root / "inner").mkdir(parents=True)
    (root / "one.py").write_text("ONE = 1\n")
    (root / "inner" / "two.py").write_text("TWO = 2\n")
    return root


@pytest.fixture
def drops() -> list[str]:
    return []


@pytest.fixture
def guard(code: Path, drops: list[str]) -> CodeGuard:
    return CodeGuard(code, drop=lambda: drops.append("dropped"))


def test_code_that_stays_the_same_is_kept(guard: CodeGuard, code: Path, drops: list[str]) -> None:
    (code / "__pycache__").mkdir()
    (code / "__pycache__" / "one.cpython-311.pyc").write_bytes(b"compiled")
    (code / "notes.txt").write_text("no code")
    guard.check()
    assert drops == []


def _edit(code: Path) -> None:
    path = code / "inner" / "two.py"
    kept = path.stat()
    path.write_text("TWO = 3\n")
    # An editor's second save in one tick of the clock still has another time.
    os.utime(path, ns=(kept.st_atime_ns, kept.st_mtime_ns + 1))


def _grow(code: Path) -> None:
    path = code / "one.py"
    kept = path.stat()
    path.write_text("ONE = 11\n")
    os.utime(path, ns=(kept.st_atime_ns, kept.st_mtime_ns))


def _replace(code: Path) -> None:
    kept = (code / "one.py").stat()
    other = code / "other"
    other.write_text("ONE = 2\n")
    os.utime(other, ns=(kept.st_atime_ns, kept.st_mtime_ns))
    other.replace(code / "one.py")


def _add(code: Path) -> None:
    (code / "inner" / "three.py").write_text("THREE = 3\n")


def _remove(code: Path) -> None:
    (code / "one.py").unlink()


@pytest.mark.parametrize("change", [_edit, _grow, _replace, _add, _remove])
def test_code_that_changed_is_dropped_once_with_a_warning(
    guard: CodeGuard,
    code: Path,
    drops: list[str],
    change: object,
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert callable(change)
    change(code)
    with caplog.at_level(logging.WARNING):
        guard.check()
        guard.check()
    assert drops == ["dropped"]
    (record,) = caplog.records
    assert str(code) in record.getMessage()
    assert "restart the component" in record.getMessage()


def test_every_module_of_a_task_is_named_and_none_of_the_api() -> None:
    names = list(preload.module_names())
    assert len(names) == len(set(names))
    assert {
        "convergence.pipelines.dags.factory",
        "convergence.processors.openai.usage",
        "convergence.processors.aws.s3_data_loader",
        "convergence.runs.ledger",
        "convergence.state.store",
        "convergence.settings",
    } <= set(names)
    assert not [name for name in names if name.startswith(preload._LEFT_OUT)]


def test_a_module_that_can_not_be_imported_keeps_no_component_from_starting(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(preload, "module_names", lambda: iter(["convergence.absent"]))
    monkeypatch.setattr(preload, "_check_before_forks", lambda _guard: None)
    with caplog.at_level(logging.WARNING):
        preload.preload()
    (record,) = caplog.records
    assert "convergence.absent can't be imported before the fork" in record.getMessage()
