"""No test replaces a function of the standard library, and none starts a process on its own."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
REPLACING = {"setattr", "delattr", "patch", "object"}
STARTING = {
    ("subprocess", "run"), ("subprocess", "Popen"), ("subprocess", "call"),
    ("subprocess", "check_call"), ("subprocess", "check_output"), ("os", "system"),
    ("os", "posix_spawn"), ("asyncio", "create_subprocess_exec"),
    ("asyncio", "create_subprocess_shell"),
}  # fmt: skip
# What a shell would start is started without a guardian there.
STARTS_PLAINLY = {
    "tests/crash/test_crash_seeds.py",
    "tests/unit/stack/test_stack_guarded.py",
    "tests/unit/stack/test_stack_pytest_killed.py",
}


def sources(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def replacements(text: str) -> Iterator[tuple[int, str]]:
    """Each replaced attribute of the standard library: its line and its name."""
    tree = ast.parse(text)
    names = _standard_names(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _called(node) in REPLACING and node.args:
            target = _target(node.args[0], names)
            if target is not None:
                yield node.lineno, target
        elif isinstance(node, ast.Assign):
            for each in node.targets:
                if isinstance(each, ast.Attribute) and (found := _target(each.value, names)):
                    yield node.lineno, f"{found}.{each.attr}"


def starts(text: str) -> Iterator[tuple[int, str]]:
    """Each process started without a guardian: its line and how."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = node.func.value
            if isinstance(owner, ast.Name) and (owner.id, node.func.attr) in STARTING:
                yield node.lineno, f"{owner.id}.{node.func.attr}"


def _standard_names(tree: ast.Module) -> dict[str, str]:
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if _is_standard(alias.name):
                    names[(alias.asname or alias.name).partition(".")[0]] = alias.name
        elif isinstance(node, ast.ImportFrom) and node.module and _is_standard(node.module):
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return names


def _target(node: ast.expr, names: dict[str, str]) -> str | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        # "module.of.ours.time.sleep" replaces the standard library's attribute for everybody.
        parts = node.value.split(".")
        return node.value if any(_is_standard(part) for part in parts[:-1]) else None
    if isinstance(node, ast.Attribute):
        # `module_of_ours.time` is the standard library's module.
        inner = _target(node.value, names)
        return inner or (node.attr if _is_standard(node.attr) else None)
    if isinstance(node, ast.Name):
        return names.get(node.id)
    return None


def _called(node: ast.Call) -> str:
    if isinstance(node.func, ast.Attribute):
        return node.func.attr
    return node.func.id if isinstance(node.func, ast.Name) else ""


# Words that are modules of the standard library and attributes of ours.
AMBIGUOUS = {"queue", "calendar", "signal", "statistics", "secrets", "token", "types", "code"}


def _is_standard(name: str) -> bool:
    top = name.partition(".")[0]
    return top in sys.stdlib_module_names - AMBIGUOUS


@pytest.mark.parametrize("path", sources("tests", "sandbox/tests"), ids=relative)
def test_no_test_replaces_a_function_of_the_standard_library(path: Path) -> None:
    found = [f"{relative(path)}:{line}: {name}" for line, name in replacements(path.read_text())]
    assert found == [], "inject the clock, the sleep or the function instead"


@pytest.mark.parametrize("path", sources("tests", "sandbox/tests", "tools/stack"), ids=relative)
def test_every_process_is_started_under_a_guardian(path: Path) -> None:
    if relative(path) in {*STARTS_PLAINLY, "tools/stack/guardian.py"}:
        pytest.skip("what a guardian is made of")
    found = [f"{relative(path)}:{line}: {name}" for line, name in starts(path.read_text())]
    assert found == [], "start it with stack.guarded"


@pytest.mark.parametrize(
    "text",
    [
        "import asyncio\nmonkeypatch.setattr(asyncio, 'sleep', x)",
        "import time as t\nmonkeypatch.setattr(t, 'monotonic', x)",
        "from pathlib import Path\nmonkeypatch.setattr(Path, 'open', x)",
        "monkeypatch.setattr('time.sleep', x)",
        "monkeypatch.setattr('stack.databases.shutil.which', x)",
        "from convergence.api import app\nmonkeypatch.setattr(app.asyncio, 'sleep', x)",
        "from unittest import mock\nmock.patch('socket.getaddrinfo')",
        "import os\nmock.patch.object(os, 'fsync')",
        "import random\nrandom.random = x",
    ],
)
def test_a_replacement_is_found_however_it_is_written(text: str) -> None:
    assert len(list(replacements(text))) == 1


@pytest.mark.parametrize(
    "text",
    [
        "from convergence.api import app\nmonkeypatch.setattr(app, '_wrap', x)",
        "monkeypatch.setattr('convergence.runs.run_cost.get_settings', x)",
        "import os\nmonkeypatch.setenv('A', 'b')",
        "setattr(thing, 'name', x)",
    ],
)
def test_what_is_our_own_may_be_replaced(text: str) -> None:
    assert list(replacements(text)) == []


def test_a_plain_start_is_found() -> None:
    assert list(starts("import subprocess\nsubprocess.run(['true'])")) == [(2, "subprocess.run")]
