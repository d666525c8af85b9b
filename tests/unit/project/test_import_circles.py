"""No module imports itself through others, except inside the sandbox's SQL compiler."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from unit.project.plain_words import LIMITS, ROOT, Module, parse_modules

PACKAGES = ("plugins", "sandbox/src", "tools")
# An expression compiles its subqueries, and a query its expressions.
COMPILER = "convergence_sandbox.bigquery.sql"


def name_module(module: Module) -> str:
    """Return the dotted name of a file below its source folder."""
    (folder,) = (one for one in PACKAGES if module.path.startswith(f"{one}/"))
    parts = Path(module.path).relative_to(folder).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def list_imports(tree: ast.Module, known: set[str]) -> Iterator[str]:
    """List the modules of ours that a module imports when it is loaded."""
    for node in _list_statements(tree.body):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                if inner in known or node.module in known:
                    yield inner if inner in known else node.module


def _list_statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Include `if TYPE_CHECKING`: a circle of types is a circle for the reader too."""
    for node in body:
        yield node
        if isinstance(node, ast.If | ast.Try):
            yield from _list_statements(node.body)
            yield from _list_statements(node.orelse)


def find_circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Return the strongly connected groups of more than one module."""
    reached = {name: _reach(graph, name) for name in graph}
    groups = {
        tuple(sorted(one for one in reached[name] if name in reached[one]))
        for name in graph
        if name in reached[name]
    }
    return sorted(list(group) for group in groups if len(group) > 1)


def _reach(graph: dict[str, set[str]], start: str) -> set[str]:
    seen: set[str] = set()
    waiting = list(graph[start])
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting.extend(graph[name])
    return seen


def build_graph() -> dict[str, set[str]]:
    modules = {name_module(module): module for module in parse_modules(*PACKAGES)}
    known = set(modules)
    return {name: set(list_imports(one.tree, known)) - {name} for name, one in modules.items()}


def test_modules_import_in_one_direction() -> None:
    graph = build_graph()
    assert len(graph) > 300, f"few modules below {ROOT}"
    circles = [
        circle
        for circle in find_circles(graph)
        if not all(name.startswith(COMPILER) for name in circle)
    ]
    assert [circle for circle in circles if circle not in LIMITS["circles"]] == []


def test_a_circle_is_found() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}
    assert find_circles(graph) == [["a", "b", "c"]]
