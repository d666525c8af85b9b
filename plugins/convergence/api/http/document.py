"""The OpenAPI document: description, keys, idempotency header and media types of problems."""

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

**Keys.** Platform routes need the root key (`X-CA-Root-Key`), an organization's routes
need its own key (`X-API-Key`); the root key does not open an organization's routes.

**Errors** are problem documents (RFC 9457) with a stable `code` and the `request_id`. A
missing object and an object of another organization get the same 404.

**Suspended organizations.** Without an active subscription an organization's reading routes work
as before. Every route that changes something responds 403 with the code `subscription_inactive`,
except cancelling a run and disconnecting a provider.

**Repeating a request.** Send an `Idempotency-Key` with a POST and the same request has one effect
and one response for 24 hours. An API key in the first response is absent from a repeated one.
"""
TAGS = [
    {"name": "health", "description": "Needs no key."},
    {"name": "platform", "description": "Needs the root key."},
    {"name": "organizations", "description": "Needs the root key."},
    {"name": "integrations", "description": "Needs the organization's key."},
    {"name": "pipelines", "description": "Needs the organization's key."},
    {"name": "runs", "description": "Needs the organization's key."},
    {"name": "scheduler", "description": "Needs the organization's key."},
    {"name": "quota", "description": "Needs the organization's key."},
    {"name": "costs", "description": "Needs the organization's key."},
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
    "description": "Identifies the request: a repetition with the same key has no further effect.",
    "schema": {
        "type": "string",
        "minLength": 1,
        "maxLength": MAX_KEY_CHARS,
        "pattern": "^[ -~]*$",
    },
}
_METHODS = ("get", "post", "put", "delete")
_CONSTRAINTS = {"enum", "pattern", "format", "const"}


def install_document(app: FastAPI) -> None:
    """Make `app.openapi()` build the document at its first call."""
    document: dict[str, Any] = {}

    def openapi() -> dict[str, Any]:
        if not document:
            document.update(build_document(app))
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented extension point


def build_document(app: FastAPI) -> dict[str, Any]:
    """Build the document of an app."""
    document = get_openapi(
        title=app.title,
        version=app.version,
        description=app.description,
        routes=app.routes,
        tags=app.openapi_tags,
        servers=[{"url": "/api/v1"}],
    )
    document.setdefault("components", {})["securitySchemes"] = _SCHEMES
    for path, operations in document["paths"].items():
        for method in _METHODS:
            if method in operations:
                _complete_operation(operations[method], method=method)
                _sort_path_parameters(operations[method], path)
    return document


def _complete_operation(operation: dict[str, Any], *, method: str) -> None:
    """Add the media type of problems, the idempotency header of POSTs and patterns of queries."""
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
            _restrict_to_one_line(parameter["schema"])


def _sort_path_parameters(operation: dict[str, Any], path: str) -> None:
    """Sort parameters as in the path: FastAPI lists those of a handler before its dependencies'."""
    operation.get("parameters", []).sort(
        key=lambda each: path.index(f"{{{each['name']}}}") if each["in"] == "path" else len(path)
    )


def _restrict_to_one_line(schema: dict[str, Any]) -> None:
    """Add the pattern that every route checks free text against."""
    for choice in schema.get("anyOf", [schema]):
        if choice.get("type") == "string" and not _CONSTRAINTS & set(choice):
            choice["pattern"] = ONE_LINE
