"""A fault of a pipeline file: where it is, what is wrong, what was likely meant."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from convergence.errors import ConfigurationError

# libyaml counts these as line ends, so lines are split the same way.
_LINE_END = re.compile("\r\n|[\r\n\x85\u2028\u2029]")
_LONGEST_SHOWN = 60
_MOST_FAULTS = 100
_LONGEST_LINE = 160


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """One fault. Its `str` is one line; `long()` adds the lines around it and a caret.

    Attributes:
        path: the file, relative to the folder of configurations.
        line: 1-based.
        column: 1-based, in characters.
        key: dotted path of the key, such as `steps[1].config.granularity`; empty for the file.
        message: what is wrong.
        suggestion: what was likely meant.
        accepted: every value that is accepted, where they can be told.
        excerpt: (line number, text) of the faulty line and its neighbours.
    """

    path: str
    line: int
    column: int
    key: str
    message: str
    suggestion: str | None = None
    accepted: tuple[str, ...] = ()
    excerpt: tuple[tuple[int, str], ...] = ()

    def __str__(self) -> str:
        where = f"{self.path}:{self.line}:{self.column}: "
        parts = [f"{self.key}: {self.message}" if self.key else self.message]
        if self.suggestion is not None:
            parts.append(f"did you mean {self.suggestion}")
        if self.accepted:
            parts.append(f"accepted: {', '.join(self.accepted)}")
        return where + "; ".join(parts)

    def long(self) -> str:
        """The fault with two lines of context and a caret under the place."""
        lines = [str(self)]
        width = max((len(str(number)) for number, _ in self.excerpt), default=0)
        for number, text in self.excerpt:
            lines.append(f"  {number:>{width}} | {text}".rstrip())
            if number == self.line:
                lines.append(f"  {'':>{width}} | {' ' * (self.column - 1)}^")
        return "\n".join(lines)

    @property
    def place(self) -> tuple[str, int, int]:
        """Sorts faults as a reader meets them."""
        return self.path, self.line, self.column


class PipelineFilesError(ConfigurationError):
    """Raised when files of the configurations are broken; `faults` holds all of all files."""

    code = "pipeline_files_invalid"

    def __init__(self, faults: Sequence[Violation]) -> None:
        self.faults = tuple(faults)
        files = len({fault.path for fault in self.faults})
        told = "\n\n".join(fault.long() for fault in self.faults)
        super().__init__(f"{len(self.faults)} faults in {files} files\n\n{told}")

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.faults,)


class ViolationReport:
    """Collects the faults of one file."""

    def __init__(self, path: str, text: str = "") -> None:
        self.path = path
        self.faults: list[Violation] = []
        self._lines = _LINE_END.split(text)

    def add(
        self,
        place: tuple[int, int],
        message: str,
        *,
        key: str = "",
        suggestion: str | None = None,
        accepted: Iterable[str] = (),
    ) -> None:
        """Add a fault at a 1-based (line, column); of a file beyond help, the first hundred."""
        line, column = place
        if len(self.faults) == _MOST_FAULTS:
            message, key, suggestion, accepted = "here and below there is more", "", None, ()
        if len(self.faults) > _MOST_FAULTS:
            return
        self.faults.append(
            Violation(
                path=self.path,
                line=line,
                column=column,
                key=key,
                message=message,
                suggestion=suggestion,
                accepted=tuple(accepted),
                excerpt=self._excerpt(line),
            )
        )

    def sorted(self) -> tuple[Violation, ...]:
        """The faults by place, each once."""
        return tuple(dict.fromkeys(sorted(self.faults, key=lambda fault: fault.place)))

    def _excerpt(self, line: int) -> tuple[tuple[int, str], ...]:
        first, last = max(1, line - 1), min(len(self._lines), line + 1)
        if not any(text.strip() for text in self._lines):
            return ()
        return tuple(
            (number, _printable(self._lines[number - 1])) for number in range(first, last + 1)
        )


def closest_match(word: str, accepted: Sequence[str]) -> str | None:
    """The accepted word that was most likely meant."""
    found = difflib.get_close_matches(word, accepted, n=1, cutoff=0.6)
    return found[0] if found else None


def quote_value(value: object) -> str:
    """A value as a message quotes it: on one line, short."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 1]}…"


def format_key(path: Iterable[str | int]) -> str:
    """`("steps", 1, "config")` as `steps[1].config`."""
    told = ""
    for part in path:
        told += f"[{part}]" if isinstance(part, int) else f".{part}" if told else part
    return told


def _printable(text: str) -> str:
    cut = text[:_LONGEST_LINE]
    return "".join(char if char.isprintable() else " " for char in cut)
