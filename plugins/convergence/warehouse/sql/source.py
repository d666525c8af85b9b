"""Read a SQL file together with the shared statement that it extends, and map positions to lines.

Several files can share one statement. The shared file marks the parts that differ as blocks. A
file that extends it defines the text of the blocks, in Jinja's notation:

    {% extends "system/sql/prices/price_usage.sql" %}
    {% block quantities %} SELECT … {% endblock %}

The files are joined here as text, before placeholders are filled in. So the check of the tables,
the hash of a statement and the search for the line of an error all use the complete statement.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

from convergence.errors import ConfigurationError

_EXTENDS: Final = re.compile(r'\{%-?\s*extends\s+"(?P<name>[^"\n]*)"\s*-?%\}')
_BLOCK: Final = re.compile(r"\{%-?\s*(?:block\s+(?P<name>\w+)|(?P<end>endblock))\s*-?%\}")
_SHARED_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_]*(/[a-z0-9][a-z0-9_]*)*\.sql")
_IGNORED: Final = re.compile(r"(?:\s|--[^\n]*|\{\#.*?\#\})*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Place:
    """A character of a file.

    Attributes:
        path: the file.
        line: 1-based.
        column: 1-based.
    """

    path: Path
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.path.name}:{self.line}:{self.column}"


class SqlSourceError(ConfigurationError):
    """Raised when a SQL file does not match the file that it extends; `place` is the position."""

    code = "sql_source_invalid"

    def __init__(self, message: str, place: Place) -> None:
        super().__init__(f"{place}: {message}", file=str(place.path), line=place.line)
        self.reason = message
        self.place = place

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.reason, self.place)


@dataclass(frozen=True, slots=True)
class _Block:
    """A block of a file: its text, and where the text and the whole block begin and end."""

    text: str
    begins: int
    starts: int
    ends: int


@dataclass(frozen=True, slots=True, eq=False)
class _SqlFile:
    """One file as it is written; `blocks` in the order of the file. Compared by identity."""

    path: Path
    text: str
    extends: str | None
    extends_at: int
    blocks: Mapping[str, _Block]

    def place(self, offset: int) -> Place:
        before = self.text[:offset]
        return Place(self.path, before.count("\n") + 1, offset - before.rfind("\n"))

    def error(self, offset: int, message: str) -> SqlSourceError:
        return SqlSourceError(message, self.place(offset))


@dataclass(frozen=True, slots=True)
class SqlSource:
    """The text of a statement, as it is before its placeholders are filled in.

    Attributes:
        file: the file that names the statement.
        text: its text; that of a shared statement with this file's blocks in it.
        pieces: (offset in `text`, file, offset in the file) of each piece, in order.
    """

    file: _SqlFile
    text: str
    pieces: tuple[tuple[int, _SqlFile, int], ...]

    @property
    def path(self) -> Path:
        """Return the path of the file of the statement."""
        return self.file.path

    def place(self, offset: int) -> Place:
        """Return the place of a character of `text` in the file that it comes from."""
        # The last one: an empty block begins where the piece behind it does.
        start, file, begins = [piece for piece in self.pieces if piece[0] <= offset][-1]
        return file.place(min(begins + offset - start, len(file.text)))

    def line_place(self, line: int) -> Place:
        """Return the place of a 1-based line of `text`."""
        lines = self.text.splitlines(keepends=True)
        return self.place(sum(len(text) for text in lines[: max(line - 1, 0)]))

    @property
    def file_text(self) -> str:
        """Return the text of the file of the statement."""
        return self.file.text

    @property
    def extends_place(self) -> Place:
        """Return the line that names the shared statement, or the first line of the file."""
        return self.file.place(self.file.extends_at)


def read_source(path: Path, root: Path) -> SqlSource:
    """Return a SQL file's statement.

    Args:
        path: the file.
        root: the folder of configurations; names of shared statements are relative to it.

    Raises:
        FileNotFoundError: the file is missing.
        UnicodeDecodeError: it is not UTF-8.
        SqlSourceError: it extends a file that is missing, or one that has no such block.
    """
    file = _read_file(path, path.stat().st_mtime_ns)
    if file.extends is None:
        return _build_plain(file)
    if not _SHARED_NAME.fullmatch(file.extends):
        message = f"{file.extends!r} is not the path of a SQL file such as system/sql/shared.sql"
        raise file.error(file.extends_at, message)
    shared_path = root / file.extends
    try:
        modified = shared_path.stat().st_mtime_ns
    except FileNotFoundError:
        raise file.error(file.extends_at, f"there is no file {file.extends}") from None
    return _compose(file, _read_file(shared_path, modified))


def _build_plain(file: _SqlFile) -> SqlSource:
    """Return the statement of one file, with its own text in each block."""
    if not file.blocks:
        return SqlSource(file, file.text, ((0, file, 0),))
    return _join_pieces(file, file)


@lru_cache(maxsize=256)
def _read_file(path: Path, _modified: int) -> _SqlFile:
    text = path.read_text(encoding="utf-8")
    found = _EXTENDS.search(text)
    file = _SqlFile(
        path=path,
        text=text,
        extends=found["name"] if found else None,
        extends_at=found.start() if found else 0,
        blocks={},
    )
    return _SqlFile(path, text, file.extends, file.extends_at, _parse_blocks(file))


def _parse_blocks(file: _SqlFile) -> dict[str, _Block]:
    blocks: dict[str, _Block] = {}
    opened: re.Match[str] | None = None
    for tag in _BLOCK.finditer(file.text):
        if opened is None and tag["end"]:
            raise file.error(tag.start(), "this endblock closes no block")
        if opened is not None and not tag["end"]:
            raise file.error(tag.start(), f"close the block {opened['name']} before this one")
        if opened is None:
            opened = tag
            if tag["name"] in blocks:
                raise file.error(tag.start(), f"the block {tag['name']} is there twice")
            continue
        inner = file.text[opened.end() : tag.start()]
        blocks[opened["name"]] = _Block(inner, opened.end(), opened.start(), tag.end())
        opened = None
    if opened is not None:
        raise file.error(opened.start(), f"the block {opened['name']} has no endblock")
    return blocks


def _compose(file: _SqlFile, shared: _SqlFile) -> SqlSource:
    if shared.extends is not None:
        message = f"{file.extends} extends another file; a shared statement may not"
        raise file.error(file.extends_at, message)
    for name, block in file.blocks.items():
        if name not in shared.blocks:
            raise file.error(block.starts, _describe_unknown_block(name, shared, file.extends))
    _check_outside_blocks(file)
    return _join_pieces(file, shared)


def _describe_unknown_block(name: str, shared: _SqlFile, shared_name: str | None) -> str:
    meant = difflib.get_close_matches(name, shared.blocks, n=1)
    hint = f"; did you mean {meant[0]}" if meant else f"; it has {', '.join(shared.blocks)}"
    return f"{shared_name} has no block {name}{hint}"


def _check_outside_blocks(file: _SqlFile) -> None:
    """Allow only comments outside the blocks, since Jinja would drop other text silently."""
    at = 0
    extends = _EXTENDS.search(file.text)
    tags = [(block.starts, block.ends) for block in file.blocks.values()]
    tags += [extends.span()] if extends else []
    for starts, ends in [*sorted(tags), (len(file.text), 0)]:
        ignored = _IGNORED.match(file.text, at, starts)
        if ignored is not None and ignored.end() != starts:
            raise file.error(ignored.end(), "move this into a block; only comments may stand here")
        at = ends


def _join_pieces(file: _SqlFile, shared: _SqlFile) -> SqlSource:
    """Return the shared text with the file's blocks; a block that the file lacks keeps its text."""
    texts: list[str] = []
    pieces: list[tuple[int, _SqlFile, int]] = []
    length = at = 0
    for name, block in shared.blocks.items():
        giver = file if name in file.blocks else shared
        filling = giver.blocks[name]
        for text, origin, offset in (
            (shared.text[at : block.starts], shared, at),
            (filling.text, giver, filling.begins),
        ):
            texts.append(text)
            pieces.append((length, origin, offset))
            length += len(text)
        at = block.ends
    texts.append(shared.text[at:])
    pieces.append((length, shared, at))
    return SqlSource(file, "".join(texts), tuple(pieces))
