"""Violations of a configuration file: the place, what is wrong, and what was probably meant."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from convergence.errors import ConfigurationError

# libyaml counts these as line ends, so lines are split the same way.
_LINE_END = re.compile("\r\n|[\r\n\x85\u2028\u2029]")
_MAX_QUOTED_CHARS = 60
_MAX_VIOLATIONS = 100
_MAX_EXCERPT_CHARS = 160


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """One violation. `str()` renders one line; `render_excerpt()` adds the lines around it.

    Attributes:
        path: the file, relative to the folder of configurations.
        line: 1-based.
        column: 1-based, in characters.
        key: dotted path of the key, such as `steps[1].config.granularity`; empty for the file.
        message: what is wrong.
        suggestion: what was likely meant.
        accepted: every accepted value, where the values can be listed.
        excerpt: (line number, text) of the invalid line and its neighbours.
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

    def render_excerpt(self) -> str:
        """Return the violation with two lines of context and a caret under its column."""
        lines = [str(self)]
        width = max((len(str(number)) for number, _ in self.excerpt), default=0)
        for number, text in self.excerpt:
            lines.append(f"  {number:>{width}} | {text}".rstrip())
            if number == self.line:
                lines.append(f"  {'':>{width}} | {' ' * (self.column - 1)}^")
        return "\n".join(lines)

    @property
    def place(self) -> tuple[str, int, int]:
        """Return the sort key: path, line, column."""
        return self.path, self.line, self.column


class PipelineFilesError(ConfigurationError):
    """Raised when configuration files are invalid; `violations` lists those of every file."""

    code = "pipeline_files_invalid"

    def __init__(self, violations: Sequence[Violation]) -> None:
        self.violations = tuple(violations)
        files = len({violation.path for violation in self.violations})
        excerpts = "\n\n".join(violation.render_excerpt() for violation in self.violations)
        super().__init__(f"{len(self.violations)} errors in {files} files\n\n{excerpts}")

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.violations,)


class ViolationReport:
    """Collects the violations of one file."""

    def __init__(self, path: str, text: str = "") -> None:
        self.path = path
        self.violations: list[Violation] = []
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
        """Add a violation at a 1-based (line, column); only the first hundred are kept."""
        line, column = place
        if len(self.violations) == _MAX_VIOLATIONS:
            message, key, suggestion, accepted = "more errors follow from here on", "", None, ()
        if len(self.violations) > _MAX_VIOLATIONS:
            return
        self.violations.append(
            Violation(
                path=self.path,
                line=line,
                column=column,
                key=key,
                message=message,
                suggestion=suggestion,
                accepted=tuple(accepted),
                excerpt=self._read_excerpt(line),
            )
        )

    def list_violations(self) -> tuple[Violation, ...]:
        """Return the violations in the order of their places, without duplicates."""
        return tuple(dict.fromkeys(sorted(self.violations, key=lambda violation: violation.place)))

    def _read_excerpt(self, line: int) -> tuple[tuple[int, str], ...]:
        first, last = max(1, line - 1), min(len(self._lines), line + 1)
        if not any(text.strip() for text in self._lines):
            return ()
        return tuple(
            (number, _make_printable(self._lines[number - 1])) for number in range(first, last + 1)
        )


def closest_match(text: str, accepted: Sequence[str]) -> str | None:
    """Return the accepted value that is most similar to the text, if one is similar enough."""
    matches = difflib.get_close_matches(text, accepted, n=1, cutoff=0.6)
    return matches[0] if matches else None


def quote_value(value: object) -> str:
    """Return a value as JSON on one line, cut to 60 characters, for use in a message."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _MAX_QUOTED_CHARS else f"{text[: _MAX_QUOTED_CHARS - 1]}…"


def format_key(path: Iterable[str | int]) -> str:
    """Format `("steps", 1, "config")` as `steps[1].config`."""
    key = ""
    for part in path:
        key += f"[{part}]" if isinstance(part, int) else f".{part}" if key else part
    return key


def _make_printable(text: str) -> str:
    cut = text[:_MAX_EXCERPT_CHARS]
    return "".join(char if char.isprintable() else " " for char in cut)
