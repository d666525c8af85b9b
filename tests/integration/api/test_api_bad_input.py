"""Bad input for every operation, made of the OpenAPI document: refused, never a breakdown.

What must be refused is answered 4xx with a problem document; what may be sound all the same, such
as a name in another script, must only not get a 5xx. No response contains data of a
neighbour.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import pytest

from convergence.api.app import create_app
from convergence.api.http.body import MAX_BYTES
from convergence.api.http.models import ONE_LINE
from convergence.api.http.scopes import Scope
from convergence.settings import Settings
from support.api.cases import CASES
from support.api.populated import PopulatedApi
from support.api.routes import ROUTES, name_route

pytestmark = pytest.mark.timeout(300)

DOCUMENT = create_app(Settings.model_construct(_fields_set=set())).openapi()
ROUTES_BY_NAME = {name_route(route): route for route in ROUTES if route.include_in_schema}
JSON = {"Content-Type": "application/json"}
SAMPLES: dict[str, list[Any]] = {
    "null": [None], "boolean": [True], "integer": [7], "number": [1.5],
    "string": ["text"], "array": [[], [1]], "object": [{"a": 1}],
}  # fmt: skip
CONTROL = ["a\x07b", "a\nb", "\x00", "\x7f", "\ud800"]
SCRIPTS = ["Ünïcode", "日本語", "👾" * 9, "\u202egnp.exe", "' OR 1=1 --", "{{7*7}}", "${HOME}"]
PATHS = [*SCRIPTS, "a\x00b", "a\nb", "a/../b", "x" * 3000, "%", "%zz", "\\", " "]
MALFORMED = [
    b"{", b"{]", b"\xff\xfe", b'{"a": NaN}', b'{"a": 1, "a": 2}', b"[" * 3000, b'{"a":' * 3000,
    b'{"a": "\\ud800"}', b"'a'", b"\x00", b'{"a": 1} {"b": 2}', b'{"a": ' + b"9" * 6000 + b"}",
]  # fmt: skip
MEDIA_TYPES = ["text/plain", "application/xml", "application/json; charset=utf-16", "x"]
KEYS = ["", "x" * 256, "k\xe4se", "tab\there"]


@dataclass(frozen=True)
class Bad:
    """A request; `may_pass` where it could be sound."""

    what: str
    sent: dict[str, Any]
    method: str | None = None
    path: dict[str, str] = field(default_factory=dict)
    may_pass: bool = False


def bad_requests(route_name: str) -> Iterator[Bad]:
    """Everything that is wrong with one operation."""
    method, template = route_name.split(" ")
    methods = DOCUMENT["paths"][template.replace(":path", "")]
    operation = methods[method.lower()]
    yield from _wrong_methods(methods)
    yield from _wrong_queries(operation, route_name)
    yield from _wrong_paths(operation, route_name)
    if "requestBody" in operation:
        yield from _wrong_bodies(operation, CASES[route_name].body)
        yield from _unreadable_bodies(CASES[route_name].body)
    if method == "POST":
        for key in KEYS:
            header = {"Idempotency-Key": key.encode("latin-1")}
            yield Bad(f"key {key[:9]!r}", {"headers": header})


def _wrong_methods(methods: dict[str, Any]) -> Iterator[Bad]:
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "OPTIONS", "BREW"):
        if method.lower() not in methods:
            yield Bad(f"method {method}", {}, method=method)


def _wrong_queries(operation: dict[str, Any], route_name: str) -> Iterator[Bad]:
    sound = CASES[route_name].query
    yield Bad("unknown parameter", {"params": {**sound, "surprise": "1"}})
    for parameter in operation.get("parameters", ()):
        if parameter["in"] != "query":
            continue
        name, schema = parameter["name"], resolved(parameter["schema"])
        plain = types_of(schema) <= {"string", "null"} and not restricted(schema)
        for value in ("", "\x00", "-1", "1e999", "x" * 5000, *SCRIPTS):
            may_pass = plain or value in {"", "-1"}
            params = {**sound, name: value}
            yield Bad(f"{name}={value[:20]!r}", {"params": params}, may_pass=may_pass)


def _wrong_paths(operation: dict[str, Any], route_name: str) -> Iterator[Bad]:
    for parameter in operation.get("parameters", ()):
        if parameter["in"] == "path":
            name = parameter["name"]
            may_pass = name in {"model_id", "plan_name"}  # any line of text names one
            for value in PATHS:
                path = {name: quote(value, safe="", errors="replace")}
                yield Bad(f"{name} is {value[:20]!r}", {}, path=path, may_pass=may_pass)


def _wrong_bodies(operation: dict[str, Any], sound: Any) -> Iterator[Bad]:
    schema = body_schema(operation)
    for body in ([], ["a"], "text", 7, True):
        yield Bad(f"the body is {body!r}", as_json(body))
    yield Bad("an extra field", as_json({**sound, "surprise": 1}))
    for name in schema.get("required", ()):
        rest = {key: value for key, value in sound.items() if key != name}
        yield Bad(f"{name} is missing", as_json(rest))
    for name, property_schema in schema["properties"].items():
        yield from _wrong_values(name, resolved(property_schema), sound)


def _wrong_values(name: str, schema: dict[str, Any], sound: dict[str, Any]) -> Iterator[Bad]:
    allowed = types_of(schema)
    for kind, values in SAMPLES.items():
        sort = "number" if kind == "integer" and "number" in allowed else kind
        if sort not in allowed:
            for value in values:
                yield Bad(f"{name} is {value!r}", as_json({**sound, name: value}))
    if "string" in allowed:
        for value in (*CONTROL, "x" * 70_000):
            yield Bad(f"{name} is {value[:9]!r}", as_json({**sound, name: value}))
        for value in (*SCRIPTS, ""):
            yield Bad(f"{name} is {value!r}", as_json({**sound, name: value}), may_pass=True)
    if "object" in allowed:
        deep: Any = "end"
        for _ in range(40):
            deep = {"a": deep}
        for value in (deep, {"a": "x" * MAX_BYTES}, {"\x00": 1}):
            yield Bad(f"{name} is a large object", as_json({**sound, name: value}))


def _unreadable_bodies(sound: Any) -> Iterator[Bad]:
    for raw in MALFORMED:
        yield Bad(f"raw {raw[:12]!r}", {"content": raw, "headers": JSON})
    yield Bad("too large", {"content": b" " * (MAX_BYTES + 1), "headers": JSON})
    for media_type in MEDIA_TYPES:
        content, headers = json.dumps(sound), {"Content-Type": media_type}
        yield Bad(f"sent as {media_type}", {"content": content, "headers": headers})


@pytest.mark.parametrize("route_name", [one for one in CASES if one in ROUTES_BY_NAME])
def test_bad_input_is_refused_and_breaks_nothing(
    populated_api: PopulatedApi, route_name: str
) -> None:
    route, case, wrong = ROUTES_BY_NAME[route_name], CASES[route_name], []
    key = {Scope.PUBLIC: {}, Scope.ADMIN: populated_api.keys["root"]}.get(
        route.scope, populated_api.keys["own"]
    )
    for bad in bad_requests(route_name):
        sent = {"params": dict(case.query), **bad.sent}
        sent["headers"] = {**key, **sent.get("headers", {})}
        if case.body is not None and not {"json", "content"} & set(sent) and not bad.method:
            sent["json"] = case.body
        method = bad.method or next(iter(route.methods))
        path = case.path(route.path, populated_api.acme, **bad.path)
        answer = populated_api.client.request(method, path, **sent)
        fine = answer.is_success and bad.may_pass
        if not (fine or is_refusal(answer)) or leaks(answer, populated_api):
            wrong.append((bad.what, answer.status_code, answer.text[:300]))
    assert wrong == []


def is_refusal(answer: Any) -> bool:
    if not 400 <= answer.status_code < 500:
        return False
    body = answer.json()
    return bool(
        answer.headers["content-type"] == "application/problem+json"
        and body["status"] == answer.status_code
        and body["code"]
        and body["request_id"] == answer.headers["X-Request-ID"]
        and (answer.status_code != 405 or answer.headers["Allow"])
    )


def leaks(answer: Any, populated_api: PopulatedApi) -> bool:
    """Return whether a response contains data of the neighbour; the platform's lists may."""
    one = populated_api.globex
    return answer.status_code >= 400 and any(
        text in answer.text
        for text in (one.slug, one.company, one.key, one.run_id, populated_api.acme.key)
    )


def as_json(document: Any) -> dict[str, Any]:
    return {"content": json.dumps(document), "headers": JSON}


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in schema:
        return resolved(DOCUMENT["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]])
    return schema


def body_schema(operation: dict[str, Any]) -> dict[str, Any]:
    schema = resolved(operation["requestBody"]["content"]["application/json"]["schema"])
    for choice in map(resolved, schema.get("anyOf", ())):
        if choice.get("type") == "object":
            return choice
    return schema


def types_of(schema: dict[str, Any]) -> set[str]:
    """The JSON types that a schema allows."""
    if "anyOf" in schema:
        return set().union(*(types_of(resolved(choice)) for choice in schema["anyOf"]))
    types = schema.get("type", list(SAMPLES))
    return {types} if isinstance(types, str) else set(types)


def restricted(schema: dict[str, Any]) -> bool:
    """Whether not every text will do."""
    choices = [resolved(choice) for choice in schema.get("anyOf", [schema])]
    texts = [choice for choice in choices if choice.get("type") == "string"]
    lines = [text for text in texts if text.get("pattern") == ONE_LINE]
    return not lines and all({"enum", "pattern", "format", "const"} & set(text) for text in texts)
