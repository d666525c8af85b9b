"""Translate pydantic's errors into messages for the author of a file, with their places."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from convergence.pipelines.files.document import Document, Node, Path
from convergence.pipelines.files.spec import CONFIG_PATH, KEBAB, SNAKE, URL_PATH
from convergence.pipelines.files.violations import (
    ViolationReport,
    closest_match,
    format_key,
    quote_value,
)

_FORMS = {
    SNAKE: "must be snake_case: lower-case letters, digits and single underscores",
    KEBAB: "must be kebab-case, such as openai-usage-cost",
    URL_PATH: "must be two or three snake_case names joined by /, such as openai/usage_cost",
    CONFIG_PATH: "must be the path of a .json file under the folder of configurations",
}
_KINDS = {
    "string": "text",
    "int": "a whole number",
    "float": "a number",
    "decimal": "a number",
    "bool": "true or false",
    "list": "a list",
    "tuple": "a list",
    "dict": "a mapping",
    "model": "a mapping",
    "date": "a date such as 2026-01-31, as quoted text",
}
_LENGTHS = {
    "too_short": "must have {min_length} entries or more",
    "too_long": "must have {max_length} entries or fewer",
}
_LIMITS = {
    "greater_than_equal": "must be at least {ge}",
    "greater_than": "must be more than {gt}",
    "less_than_equal": "must be at most {le}",
    "less_than": "must be less than {lt}",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "int_from_float": "must be a whole number",
    "value_error": "{error}",
}


class _Message(NamedTuple):
    text: str
    suggestion: str | None = None
    accepted: tuple[str, ...] = ()


def report_validation_errors(
    error: ValidationError,
    *,
    model: type[BaseModel],
    document: Document,
    report: ViolationReport,
    under: Path = (),
) -> None:
    """Add every error of a validation to the report.

    Args:
        error: pydantic's error.
        model: the validated model.
        document: the file.
        report: receives the violations.
        under: the path of the validated value in the file.
    """
    for details in error.errors(include_url=False):
        location = under + tuple(details["loc"])
        node, path = _locate(document.node, location)
        if _is_invalid(document.node, path) or _is_consequence(details, node):
            continue
        message = _describe_error(details, model, node)
        missing = details["type"] == "missing"
        place = _find_key_place(document.node, path) if _is_key_error(details) else node.place
        full_path = (*path, str(location[-1])) if missing else path
        report.add(
            place,
            message.text,
            key=format_key(full_path),
            suggestion=message.suggestion,
            accepted=message.accepted,
        )


def accepted_keys(model: type[BaseModel], location: Path) -> tuple[str, ...]:
    """Return the keys that the model accepts at a location, sorted."""
    found = _find_model(model, location)
    if found is None:
        return ()
    return tuple(sorted(list_keys(name, info)[0] for name, info in found.model_fields.items()))


def _is_consequence(details: ErrorDetails, node: Node) -> bool:
    """Return whether a list is too short only because some of its entries are invalid."""
    return details["type"] == "too_short" and len(node.parts) >= details["ctx"]["min_length"]


def _is_key_error(details: ErrorDetails) -> bool:
    return details["type"] == "extra_forbidden" or details["loc"][-1:] == ("[key]",)


def _describe_error(details: ErrorDetails, model: type[BaseModel], node: Node) -> _Message:
    kind, context = details["type"], details.get("ctx", {})
    if (special := _SPECIAL.get(kind)) is not None:
        return special(details, model)
    if (expected := _KINDS.get(_strip_suffix(kind))) is not None:
        return _Message(_describe_wrong_type(expected, details, node))
    if kind in _LENGTHS:
        return _Message(f"{_LENGTHS[kind].format(**context)}; it has {len(node.parts)}")
    if kind in _LIMITS:
        return _Message(_LIMITS[kind].format(**context) + f", not {_quote_input(details)}")
    if "accepted" in context:
        return _Message(f"{_quote_input(details)} {details['msg']}", accepted=context["accepted"])
    return _Message(details["msg"][:1].lower() + details["msg"][1:])


def _missing(_details: ErrorDetails, _model: type[BaseModel]) -> _Message:
    return _Message("is missing")


def _wrong_form(details: ErrorDetails, _model: type[BaseModel]) -> _Message:
    pattern = str(details["ctx"]["pattern"])
    return _Message(f"{_FORMS.get(pattern, f'must match {pattern}')}, not {_quote_input(details)}")


def _wrong_choice(details: ErrorDetails, _model: type[BaseModel]) -> _Message:
    accepted = tuple(re.findall(r"'([^']*)'", str(details["ctx"]["expected"])))
    return _Message(
        f"can't be {_quote_input(details)}",
        closest_match(str(details["input"]), accepted),
        accepted,
    )


def _wrong_tag(details: ErrorDetails, _model: type[BaseModel]) -> _Message:
    accepted = tuple(re.findall(r"'([^']*)'", str(details["ctx"]["expected_tags"])))
    key, tag = str(details["ctx"]["discriminator"]).strip("'"), str(details["ctx"]["tag"])
    return _Message(f"{key} can't be {quote_value(tag)}", closest_match(tag, accepted), accepted)


def _no_tag(details: ErrorDetails, _model: type[BaseModel]) -> _Message:
    return _Message(f"{str(details['ctx']['discriminator']).strip(chr(39))} is missing")


def _strip_suffix(kind: str) -> str:
    return re.sub(r"_(type|parsing|attributes_type|from_datetime_parsing)$", "", kind)


def _unknown_key(details: ErrorDetails, model: type[BaseModel]) -> _Message:
    *above, key = details["loc"]
    accepted = accepted_keys(model, tuple(above))
    found = _find_model(model, tuple(above))
    if found is not None:
        for name, info in found.model_fields.items():
            if key in list_keys(name, info):
                return _Message(f"duplicate of {list_keys(name, info)[0]}")
    return _Message("unknown key", closest_match(str(key), accepted), accepted)


def _describe_wrong_type(expected: str, details: ErrorDetails, node: Node) -> str:
    value = details["input"]
    if expected == "text" and node.plain and not isinstance(value, str):
        return f'must be text: quote it, "{node.plain}"'
    exact = "" if isinstance(value, str) else node.plain
    return f"must be {expected}, not {exact or _describe_value(value)}"


def _describe_value(value: Any) -> str:  # noqa: ANN401  # any JSON value
    match value:
        case None:
            return "nothing"
        case Mapping():
            return "a mapping"
        case list():
            return "a list"
        case str():
            return f"the text {quote_value(value)}"
        case _:
            return quote_value(value)


def _quote_input(details: ErrorDetails) -> str:
    value = details["input"]
    if isinstance(value, (Mapping, list)) or value is None:
        return _describe_value(value)
    return quote_value(value)


def _locate(root: Node, location: Path) -> tuple[Node, Path]:
    """Return the innermost node at a location; skip the names that pydantic adds for unions."""
    node, path = root, []
    for part in location:
        if part in node.parts:
            node = node.parts[part]
            path.append(part)
    return node, tuple(path)


def _is_invalid(root: Node, path: Path) -> bool:
    node = root
    for part in path:
        if node.invalid:
            return True
        node = node.parts[part]
    return node.invalid


def _find_key_place(root: Node, path: Path) -> tuple[int, int]:
    holder, _ = _locate(root, path[:-1])
    return holder.keys.get(path[-1], holder.place) if path else root.place


def list_keys(name: str, info: FieldInfo) -> tuple[str, ...]:
    """Return every key that a file may use for a field, the preferred one first."""
    alias = info.validation_alias
    choices = getattr(alias, "choices", None)
    if choices is not None:
        return tuple(str(choice) for choice in choices)
    return (str(alias or info.alias or name),)


def _find_model(model: type[BaseModel], location: Path) -> type[BaseModel] | None:
    annotation: Any = model
    for part in location:
        annotation = _step_into(annotation, part)
    found = [one for one in _list_members(annotation) if _is_model(one)]
    return found[0] if len(found) == 1 else None


def _step_into(annotation: Any, part: str | int) -> Any:  # noqa: ANN401  # annotations are untyped
    members = _list_members(annotation)
    models = [one for one in members if _is_model(one)]
    if len(models) > 1:
        return next((one for one in models if _is_branch(one, part)), None)
    for one in models:
        for name, info in one.model_fields.items():
            if part in list_keys(name, info):
                return info.annotation
    for one in members:
        if get_origin(one) is dict:
            return get_args(one)[1]
        if get_origin(one) in {tuple, list}:
            return get_args(one)[0]
    return None


def _list_members(annotation: Any) -> list[Any]:  # noqa: ANN401  # annotations are untyped
    origin = get_origin(annotation)
    if origin is Annotated:
        return _list_members(get_args(annotation)[0])
    if origin in {Union, UnionType}:
        return [member for one in get_args(annotation) for member in _list_members(one)]
    return [annotation]


def _is_model(annotation: Any) -> bool:  # noqa: ANN401  # annotations are untyped
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _is_branch(model: type[BaseModel], part: str | int) -> bool:
    literals = (
        value
        for info in model.model_fields.values()
        if get_origin(info.annotation) is Literal
        for value in get_args(info.annotation)
    )
    return model.__name__ == part or part in literals


_SPECIAL: dict[str, Callable[[ErrorDetails, type[BaseModel]], _Message]] = {
    "extra_forbidden": _unknown_key,
    "missing": _missing,
    "string_pattern_mismatch": _wrong_form,
    "literal_error": _wrong_choice,
    "enum": _wrong_choice,
    "union_tag_invalid": _wrong_tag,
    "union_tag_not_found": _no_tag,
}
