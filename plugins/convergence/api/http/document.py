"""The OpenAPI document: what the app is, its keys, and headers that every answer carries."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from convergence.api.http.idempotency import HEADER, MAX_KEY_CHARS
from convergence.api.http.models import ONE_LINE
from convergence.api.http.problems import MEDIA_TYPE

TITLE = "Convergence"
VERSION = "0.1.0"
DESCRIPTION = """\
Daily cost of clouds and language models, per organization.

**Keys.** Platform routes open with the root key (`X-CA-Root-Key`), an organization's routes with
its own key (`X-API-Key`); neither stands in for the other.

**Errors** are problem documents (RFC 9457) with a stable `code` and the `request_id`. Another
organization's object and a missing one get the same 404.

**Suspended organizations.** Without an active subscription an organization's reading routes work
as before. Every route that changes something responds 403 with the code `subscription_inactive`,
except cancelling a run and disconnecting a provider.

**Repeating a request.** Send an `Idempotency-Key` with a POST and the same request has one effect
and one answer for 24 hours. A key told in the first answer is left out of the repeated one.
"""
TAGS = [
    {"name": "health", "description": "No key."},
    {"name": "platform", "description": "Root key."},
    {"name": "organizations", "description": "Root key."},
    {"name": "integrations", "description": "The organization's key."},
    {"name": "pipelines", "description": "The organization's key."},
    {"name": "runs", "description": "The organization's key."},
    {"name": "scheduler", "description": "The organization's key."},
    {"name": "quota", "description": "The organization's key."},
    {"name": "costs", "description": "The organization's key."},
]
_SCHEMES = {
    "RootKey": {"type": "apiKey", "in": "header", "name": "X-CA-Root-Key"},
    "AdminKey": {
        "type": "apiKey",
        "in": "header",
        "name": "X-Admin-Key",
        "description": "The root key under its earlier name.",
    },
    "OrgKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}
_IDEMPOTENCY = {
    "name": HEADER,
    "in": "header",
    "required": False,
    "description": "Names this request, so that repeating it has no further effect.",
    "schema": {
        "type": "string",
        "minLength": 1,
        "maxLength": MAX_KEY_CHARS,
        "pattern": "^[ -~]*$",
    },
}
_METHODS = ("get", "post", "put", "delete")
_TOLD_TEXT = {"enum", "pattern", "format", "const"}


def install(app: FastAPI) -> None:
    """Let `app.openapi()` build the document once."""
    built: dict[str, Any] = {}

    def openapi() -> dict[str, Any]:
        if not built:
            built.update(build(app))
        return built

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented extension point


def build(app: FastAPI) -> dict[str, Any]:
    """The document of an app."""
    document = get_openapi(
        title=app.title,
        version=app.version,
        description=app.description,
        routes=app.routes,
        tags=app.openapi_tags,
        servers=[{"url": "/api/v1"}],
    )
    document.setdefault("components", {})["securitySchemes"] = _SCHEMES
    for path in document["paths"].values():
        for method in _METHODS:
            if method in path:
                _complete(path[method], method=method)
    return document


def _complete(operation: dict[str, Any], *, method: str) -> None:
    """Problems under their own media type, what POSTs take, and what no query may hold."""
    responses: dict[str, Any] = operation["responses"]
    for status, response in responses.items():
        content = response.get("content", {})
        schema = content.get("application/json", {}).get("schema", {})
        is_problem = schema.get("$ref", "").endswith(("/Problem", "/HTTPValidationError"))
        if status[0] in "45" and is_problem:
            schema = {"$ref": "#/components/schemas/Problem"}
            response["content"] = {MEDIA_TYPE: {"schema": schema}}
    if method == "post" and operation.get("x-scope") != "public":
        operation.setdefault("parameters", []).append(_IDEMPOTENCY)
    for parameter in operation.get("parameters", ()):
        if parameter["in"] == "query":
            _as_one_line(parameter["schema"])


def _as_one_line(schema: dict[str, Any]) -> None:
    """Say of free text what every route holds it to before it reads it."""
    for choice in schema.get("anyOf", [schema]):
        if choice.get("type") == "string" and not _TOLD_TEXT & set(choice):
            choice["pattern"] = ONE_LINE
