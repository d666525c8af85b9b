"""Read a settings file (YAML) into its model, with all errors and their places.

For `include/configs/system/` and every `config.yml`; pipelines have a reader of their own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from convergence.errors import ConfigurationError

MAX_BYTES = 256 * 1024
_ALIAS = "aliases are not accepted"

Place = tuple[int, int]
KeyPath = tuple[str | int, ...]
Located = tuple[KeyPath, Place, str]
Model = TypeVar("Model", bound=BaseModel)


class Strict(BaseModel):
    """Base of models of files: no unknown key, no conversion, no change afterwards."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


@dataclass(frozen=True)
class ConfigEntries(Generic[Model]):
    """A file of named entries, each checked on its own.

    Attributes:
        sound: the entries without errors, by name.
        broken: the errors of each of the other entries, as `path:line:column: key: message`.
        errors: errors of the file as a whole; without a readable file there are no entries.
        raw: every entry as it is in the file, unchecked; more than one under a doubled name.
        places: the line and column of each entry.
        edition: twelve hexadecimal digits of the file's SHA-256; empty when it can't be read.
    """

    sound: Mapping[str, Model] = field(default_factory=dict)
    broken: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    errors: tuple[str, ...] = ()
    raw: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    places: Mapping[str, Place] = field(default_factory=dict)
    edition: str = ""


def read_config(path: Path, model: type[Model]) -> Model:
    """Read and check a file.

    Raises:
        ConfigurationError: it is missing or wrong; `errors` lists every error as
            `path:line:column: key: what is wrong`.
    """
    places: dict[KeyPath, Place] = {(): (1, 1)}
    node = _compose_nodes(path, _read_bytes(path))
    if found := list(_walk_nodes(node, places)):
        raise _build_config_error(path, [_format_error(path, *one) for one in found])
    try:
        return _validate_data(model, _construct_data(node))
    except ValidationError as error:
        raise _build_config_error(path, _format_errors(error, path, (), places)) from None
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise _build_config_error(path, [_format_yaml_error(path, error)]) from None


def read_entries(path: Path, *, under: str, model: type[Model]) -> ConfigEntries[Model]:
    """Read a file whose mapping `under` holds entries; an error in one leaves the others sound.

    Nothing is raised: the user of an entry decides what its errors mean.
    """
    raw: bytes = b""
    places: dict[KeyPath, Place] = {(): (1, 1)}
    try:
        raw = _read_bytes(path)
        node = _compose_nodes(path, raw)
        found = list(_walk_nodes(node, places))
    except ConfigurationError as error:
        return ConfigEntries(errors=_list_errors(error), edition=_compute_edition(raw))
    file = _EntriesFile(path, under, places)
    for where, place, message in found:
        file.add(where, _format_error(path, where, place, message))
    sound: dict[str, Model] = {}
    for name, data in file.entries(node):
        try:
            checked = _validate_data(model, data)
        except ValidationError as error:
            file.broken[name] = _format_errors(error, path, (under, name), places)
        except (ValueError, TypeError, RecursionError) as error:
            place = _find_nearest_place((under, name), places)
            file.broken[name] = [_format_error(path, (under, name), place, str(error))]
        else:
            sound[name] = checked
    broken = {name: tuple(errors) for name, errors in file.broken.items()}
    lines = {name: _find_nearest_place((under, name), places) for name in (*file.raw, *broken)}
    return ConfigEntries(sound, broken, tuple(file.errors), file.raw, lines, _compute_edition(raw))


@dataclass
class _EntriesFile:
    """The state of reading a file of entries."""

    path: Path
    under: str
    places: Mapping[KeyPath, Place]
    broken: dict[str, list[str]] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    raw: dict[str, list[Any]] = field(default_factory=dict)

    def add(self, where: KeyPath, line: str) -> None:
        """Add an error to its entry, or to the file."""
        if len(where) > 1 and where[0] == self.under:
            self.broken.setdefault(str(where[1]), []).append(line)
        else:
            self.errors.append(line)

    def entries(self, node: yaml.Node | None) -> Iterator[tuple[str, Any]]:
        """Yield name and data of each entry without errors."""
        entries = None
        for key, value, _ in _list_parts(node) if isinstance(node, yaml.MappingNode) else ():
            if key == self.under:
                entries = value
            else:
                self._add_here((key,), "this key is not known here")
        if not isinstance(entries, yaml.MappingNode) or not entries.value:
            self._add_here((self.under,), "a mapping of at least one entry is needed")
            return
        for key, value, _ in _list_parts(entries):
            name = str(key)
            try:
                data = _construct_data(value) if not self._has_alias(name) else None
            except yaml.MarkedYAMLError as error:
                self.add((self.under, name), _format_yaml_error(self.path, error))
                continue
            except (yaml.YAMLError, ValueError, RecursionError) as error:
                self._add_here((self.under, name), str(error))
                continue
            self.raw.setdefault(name, []).append(data)
            if name not in self.broken:
                yield name, data

    def _has_alias(self, name: str) -> bool:
        return any(line.endswith(_ALIAS) for line in self.broken.get(name, ()))

    def _add_here(self, where: KeyPath, message: str) -> None:
        self.add(
            where, _format_error(self.path, where, _find_nearest_place(where, self.places), message)
        )


def _validate_data(model: type[Model], data: object) -> Model:
    # Through JSON, so that a list is a tuple and a text a date, yet "1" is no number.
    return model.model_validate_json(json.dumps(data, allow_nan=False))


def _format_errors(
    error: ValidationError, path: Path, under: KeyPath, places: Mapping[KeyPath, Place]
) -> list[str]:
    found = []
    for one in error.errors(include_url=False, include_input=False):
        where = (*under, *one["loc"])
        found.append(_format_error(path, where, _find_nearest_place(where, places), one["msg"]))
    return found


def _read_bytes(path: Path) -> bytes:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise _build_config_error(path, [f"{path}:1:1: can't be read: {error.strerror}"]) from error
    if len(raw) > MAX_BYTES:
        raise _build_config_error(path, [f"{path}:1:1: larger than {MAX_BYTES} bytes"])
    return raw


def _compose_nodes(path: Path, raw: bytes) -> yaml.Node | None:
    """Parse the file into nodes.

    Raises:
        ConfigurationError: it is no YAML.
    """
    try:
        node: yaml.Node | None = yaml.compose(raw.decode("utf-8"), Loader=yaml.CSafeLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise _build_config_error(path, [_format_yaml_error(path, error)]) from None
    return node


def _construct_data(node: yaml.Node | None) -> Any:  # noqa: ANN401  # whatever the file holds
    """Build the data of a node with the safe loader."""
    return None if node is None else yaml.constructor.SafeConstructor().construct_document(node)


def _format_yaml_error(path: Path, error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        return f"{path}:{line}:{column}: {error.problem}"
    return f"{path}:1:1: {error}"


def _walk_nodes(
    node: yaml.Node | None,
    places: dict[KeyPath, Place],
    path: KeyPath = (),
    seen: set[int] | None = None,
) -> Iterator[Located]:
    """Record the place of each key; yield an error for each doubled key, since YAML keeps the last.

    An alias is a node that was visited before: it is an error, and it is not followed, since a
    node may contain itself.
    """
    seen = set() if seen is None else seen
    if id(node) in seen:
        yield path, places[path], _ALIAS
        return
    seen.add(id(node))
    for key, value, mark in _list_parts(node):
        here = (*path, key)
        if here in places:
            yield here, _get_place(mark), "stands twice"
        places[here] = _get_place(mark)
        yield from _walk_nodes(value, places, here, seen)


def _list_parts(node: yaml.Node | None) -> Iterator[tuple[str | int, yaml.Node, yaml.Node]]:
    """List (key, value, node of the place) of the parts of a mapping or list."""
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield index, item, item
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield str(key.value), value, key


def _get_place(node: yaml.Node) -> Place:
    return node.start_mark.line + 1, node.start_mark.column + 1


def _find_nearest_place(where: KeyPath, places: Mapping[KeyPath, Place]) -> Place:
    """Return the place of a key, or of its closest parent in the file."""
    known = where
    while known not in places:
        known = known[:-1]
    return places[known]


def _format_error(path: Path, where: KeyPath, place: Place, message: str) -> str:
    return f"{path}:{place[0]}:{place[1]}: {_join_path(where) or 'file'}: {message}"


def _compute_edition(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()[:12] if raw else ""


def _list_errors(error: ConfigurationError) -> tuple[str, ...]:
    found = error.details.get("errors")
    return tuple(str(one) for one in found) if isinstance(found, list) else (error.message,)


def _join_path(path: KeyPath) -> str:
    return ".".join(str(part) for part in path)


def _build_config_error(path: Path, errors: list[str]) -> ConfigurationError:
    return ConfigurationError(f"{path.name} is wrong", errors=errors)
