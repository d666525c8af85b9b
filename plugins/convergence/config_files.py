"""Read a settings file of ours (YAML) into its model, with every fault and its place.

For `include/configs/system/` and every `config.yml`; pipelines have a reader of their own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from convergence.errors import ConfigurationError

MAX_BYTES = 256 * 1024

Place = tuple[int, int]
KeyPath = tuple[str | int, ...]
Model = TypeVar("Model", bound=BaseModel)


class Strict(BaseModel):
    """Base of models of files: no unknown key, no conversion, no change afterwards."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def read_config(path: Path, model: type[Model]) -> Model:
    """Read and check a file.

    Raises:
        ConfigurationError: it is missing or wrong; the fact `faults` lists all of its faults as
            `path:line:column: key: what is wrong`.
    """
    data, places = _parse(path)
    try:
        # Through JSON, so that a list is a tuple and a text a date, yet "1" is no number.
        return model.model_validate_json(json.dumps(data))
    except ValidationError as error:
        faults = [
            _fault(path, fault["loc"], fault["msg"], places)
            for fault in error.errors(include_url=False, include_input=False)
        ]
        raise _refused(path, faults) from None


def _parse(path: Path) -> tuple[Any, dict[KeyPath, Place]]:
    places: dict[KeyPath, Place] = {(): (1, 1)}
    try:
        raw = path.read_bytes()
        if len(raw) > MAX_BYTES:
            raise _refused(path, [f"{path}:1:1: larger than {MAX_BYTES} bytes"])
        text = raw.decode("utf-8")
        node = yaml.compose(text, Loader=yaml.CSafeLoader)
        faults = [f"{path}:{line}:{column}: {told}" for line, column, told in _walk(node, places)]
        if faults:
            raise _refused(path, faults)
        data = yaml.load(text, Loader=yaml.CSafeLoader)  # the safe loader, in C
        json.dumps(data, allow_nan=False)
    except OSError as error:
        raise _refused(path, [f"{path}:1:1: can't be read: {error.strerror}"]) from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        raise _refused(path, [f"{path}:{line}:{column}: {error.problem}"]) from None
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise _refused(path, [f"{path}:1:1: {error}"]) from None
    return data, places


def _walk(
    node: yaml.Node | None,
    places: dict[KeyPath, Place],
    path: KeyPath = (),
    seen: set[int] | None = None,
) -> Iterator[tuple[int, int, str]]:
    """Note where every key is; tell of keys that stand twice, since YAML keeps the last.

    An alias is a node met again: it is told of, not followed, since it may hold itself.
    """
    seen = set() if seen is None else seen
    if id(node) in seen:
        yield (*places[path], f"{_dotted(path)}: aliases are not accepted")
        return
    seen.add(id(node))
    for key, value, mark in _parts(node):
        here = (*path, key)
        if here in places:
            yield (*_place(mark), f"{_dotted(here)}: stands twice")
        places[here] = _place(mark)
        yield from _walk(value, places, here, seen)


def _parts(node: yaml.Node | None) -> Iterator[tuple[str | int, yaml.Node, yaml.Node]]:
    """(key, value, what to point at) of a mapping's or list's parts."""
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield index, item, item
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield str(key.value), value, key


def _place(node: yaml.Node) -> Place:
    return node.start_mark.line + 1, node.start_mark.column + 1


def _fault(path: Path, where: KeyPath, told: str, places: dict[KeyPath, Place]) -> str:
    known = where
    while known not in places:
        known = known[:-1]
    line, column = places[known]
    return f"{path}:{line}:{column}: {_dotted(where) or 'file'}: {told}"


def _dotted(path: KeyPath) -> str:
    return ".".join(str(part) for part in path)


def _refused(path: Path, faults: list[str]) -> ConfigurationError:
    return ConfigurationError(f"{path.name} is wrong", faults=faults)
