"""The OpenAPI document: current, complete, and the same wherever it is made."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from convergence.api import openapi
from convergence.api.http import document
from convergence.api.http.idempotency import HEADER

ROOT = Path(__file__).resolve().parents[3]
COMMITTED = ROOT / "docs" / "openapi.json"


@pytest.fixture(scope="module")
def spec() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(openapi.rendered())
    return loaded


def operations(spec: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [
        (f"{method} {path}", operation)
        for path, methods in spec["paths"].items()
        for method, operation in methods.items()
    ]


def test_the_committed_copy_is_current() -> None:
    assert COMMITTED.read_text() == openapi.rendered(), "run `make openapi`"


def test_it_does_not_depend_on_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    before = openapi.rendered()
    monkeypatch.setenv("ENABLE_API_DOCS", "false")
    monkeypatch.setenv("CA_ROOT_API_KEY", "another-root-key-0123456789")
    assert openapi.rendered() == before
    assert "another-root-key" not in before


def test_every_operation_is_described_and_says_its_scope(spec: dict[str, Any]) -> None:
    for name, operation in operations(spec):
        assert operation["summary"], name
        assert operation["description"], name
        assert operation["tags"], name
        public = operation["x-scope"] == "public"
        assert bool(operation["security"]) is not public, name


def test_every_text_in_a_query_says_what_it_may_hold(spec: dict[str, Any]) -> None:
    told = 0
    for name, operation in operations(spec):
        for parameter in operation.get("parameters", ()):
            schema = parameter["schema"]
            for choice in schema.get("anyOf", [schema]) if parameter["in"] == "query" else ():
                if choice.get("type") == "string":
                    assert {"pattern", "enum", "format"} & set(choice), (name, parameter["name"])
                    told += 1
    assert told > 10


def test_refusals_are_problem_documents(spec: dict[str, Any]) -> None:
    for name, operation in operations(spec):
        for status, response in operation["responses"].items():
            if status[0] in "45" and not (name == "get /health/ready" and status == "503"):
                assert list(response["content"]) == ["application/problem+json"], (name, status)
                assert response["content"]["application/problem+json"]["schema"] == {
                    "$ref": "#/components/schemas/Problem"
                }


def test_posts_that_need_a_key_take_an_idempotency_key(spec: dict[str, Any]) -> None:
    for name, operation in operations(spec):
        if name.startswith("post "):
            assert HEADER in [each["name"] for each in operation["parameters"]], name


def test_answers_are_typed(spec: dict[str, Any]) -> None:
    for name, operation in operations(spec):
        for status, response in operation["responses"].items():
            if status[0] == "2":
                schema = response["content"]["application/json"]["schema"]
                assert schema.get("$ref"), (name, status)


def test_the_version_is_that_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == document.VERSION
