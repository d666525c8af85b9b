"""Words of identifiers and of prose in the repository, for the tests of plain words."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
# Upper limits of what is left, and the identifiers that stay.
DATA: dict[str, Any] = json.loads((ROOT / "tests/data/project/plain_words.json").read_text())
LIMITS: dict[str, Any] = DATA["limits"]
PRODUCT, SANDBOX, TOOLS = "plugins", "sandbox", "tools"
TESTS = ("tests", "sandbox/tests")

# A private vocabulary that the field does not use: what to write instead, CONTRIBUTING.md says.
BANNED = frozenset(
    {
        *("told", "tell", "untold", "answer", "answers", "facts", "wanted", "asked", "given"),
        *("fault", "faults", "held", "own", "room", "rooms", "face", "standing", "word"),
        *("arrival", "chores", "alone", "once", "handover", "epochs", "refusal", "refusals"),
        *("terms", "patience", "deal", "acts", "anew"),
    }
)
# Words that are standard by themselves and private vocabulary as pairs.
BANNED_PAIRS = frozenset({("late", "news"), ("left", "open")})
# Functions that a command line or Alembic calls by name.
ENTRY_POINTS = frozenset({"main", "upgrade"})
NEVER = frozenset({"told", "answer", "facts", "asked", "wanted"})

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")


@dataclass(frozen=True)
class Module:
    """One Python file, parsed."""

    path: str
    text: str
    tree: ast.Module


@dataclass(frozen=True, order=True)
class Use:
    """An identifier with a banned word, in one file."""

    path: str
    identifier: str
    word: str


def parse_modules(*folders: str) -> tuple[Module, ...]:
    """Parse every Python file below these folders; each file once in a process."""
    return tuple(
        _parse_module(path) for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))
    )


@cache
def _parse_module(path: Path) -> Module:
    text = path.read_text(encoding="utf-8")
    return Module(path.relative_to(ROOT).as_posix(), text, ast.parse(text))


def split_identifier(name: str) -> list[str]:
    """Split snake and camel case into lower-case words."""
    return [word.lower() for word in _WORDS.findall(name)]


@cache
def find_banned_words(name: str) -> list[str]:
    """Return the banned words and pairs of an identifier."""
    words = split_identifier(name)
    pairs = [f"{a}_{b}" for a, b in pairwise(words) if (a, b) in BANNED_PAIRS]
    most = ["most"] if words[:1] == ["most"] else []
    return [word for word in words if word in BANNED] + pairs + most


def list_identifiers(tree: ast.AST) -> Iterator[str]:
    """List every identifier that a module defines or uses."""
    for node in ast.walk(tree):
        match node:
            case (
                ast.FunctionDef(name=name)
                | ast.AsyncFunctionDef(name=name)
                | ast.ClassDef(name=name)
            ):
                yield name
            case ast.Name(id=name) | ast.Attribute(attr=name):
                yield name
            case ast.arg(arg=name) | ast.keyword(arg=str(name)):
                yield name
            case ast.alias(name=name, asname=asname):
                yield from name.split(".")
                if asname:
                    yield asname
            case _:
                pass


def list_uses(*folders: str) -> set[Use]:
    """List every identifier with a banned word, once per file."""
    return {use for module in parse_modules(*folders) for use in _list_uses_of(module.path)}


@cache
def _list_uses_of(path: str) -> tuple[Use, ...]:
    names = {*list_identifiers(_parse_module(ROOT / path).tree), Path(path).stem}
    return tuple(Use(path, name, word) for name in names for word in find_banned_words(name))


def list_functions(*folders: str) -> list[str]:
    """List the names of all functions but `__special__` ones."""
    return [
        node.name
        for module in parse_modules(*folders)
        for node in ast.walk(module.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if not node.name.startswith("__")
    ]


def find_repeated_names(*folders: str, modules: int = 4) -> dict[str, list[str]]:
    """Return the functions and classes that so many modules define at their top level.

    Not counted, since the same name then means the same: `main`, the entry point of a command;
    `upgrade`, which Alembic calls in every migration; and pytest fixtures, which a test requests by
    name and a module may redefine, such as `store`. Nor are methods: an interface names them.
    """
    places: dict[str, list[str]] = {}
    for module in parse_modules(*folders):
        names = {
            node.name
            for node in module.tree.body
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            if not any(ast.unparse(one).startswith("pytest.fixture") for one in node.decorator_list)
        }
        for name in names - ENTRY_POINTS:
            places.setdefault(name, []).append(module.path)
    return {name: found for name, found in sorted(places.items()) if len(found) >= modules}
