"""The contract part of an OpenAPI document: everything except names and prose.

Operation ids, summaries, descriptions, titles and the names of schemas may change between releases;
paths, parameters, bodies, responses and the shape of every schema may not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_PROSE = frozenset({"description", "operationId", "summary", "title"})
# Below these keywords, keys are names of the API's own fields.
_MAPS = frozenset({"headers", "paths", "properties", "responses", "schemas", "content"})
_MISSING = "(absent)"

Difference = tuple[str, object, object]


def reduce_document(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the document without its prose, with references to schemas."""
    reduced: dict[str, Any] = _drop_prose(document)
    reduced["tags"] = [tag["name"] for tag in document["tags"]]
    return reduced


def resolve_document(reduced: Mapping[str, Any]) -> dict[str, Any]:
    """Return a reduced document whose references are replaced by the schemas themselves."""
    schemas = reduced["components"]["schemas"]
    outside = {name: value for name, value in reduced.items() if name != "components"}
    outside["securitySchemes"] = reduced["components"]["securitySchemes"]
    resolved: dict[str, Any] = _resolve(outside, schemas)
    return resolved


def find_differences(old: object, new: object, path: str = "") -> Iterator[Difference]:
    """Yield where two documents differ, with both values."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name in sorted(old.keys() | new.keys()):
            yield from find_differences(
                old.get(name, _MISSING), new.get(name, _MISSING), f"{path}>{name}"
            )
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for number, (before, after) in enumerate(zip(old, new, strict=True)):
            yield from find_differences(before, after, f"{path}>{number}")
    elif old != new:
        yield path, old, new


def _drop_prose(node: Any, *, names: bool = False) -> Any:
    if isinstance(node, Mapping):
        return {
            name: _drop_prose(value, names=not names and name in _MAPS)
            for name, value in node.items()
            if names or name not in _PROSE
        }
    if isinstance(node, list):
        return [_drop_prose(each) for each in node]
    return node


def _resolve(node: Any, schemas: Mapping[str, Any]) -> Any:
    if isinstance(node, Mapping):
        if set(node) == {"$ref"}:
            return _resolve(schemas[node["$ref"].rpartition("/")[2]], schemas)
        return {name: _resolve(value, schemas) for name, value in node.items()}
    if isinstance(node, list):
        return [_resolve(each, schemas) for each in node]
    return node
