"""Days in a request: words in braces, in a URL, in parameters and in a body, become the range's."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from convergence.processors.lib.daily.day_ranges import DayRange

WORDS = {
    "first_day": "the first day, as 2026-11-20",
    "last_day": "the last day, included",
    "day_after": "the day after the last",
    "first_time": "the first instant, as 2026-11-20T00:00:00Z",
    "end_time": "the first instant after the range",
    "first_unix": "the first instant in Unix seconds",
    "end_unix": "the first instant after the range in Unix seconds",
}
_PLACEHOLDER = re.compile(r"\{([A-Za-z_]+)\}")


def day_words(days: DayRange) -> dict[str, str]:
    """Return the value of each placeholder."""
    written = "%Y-%m-%dT%H:%M:%SZ"
    return {
        "first_day": days.first.isoformat(),
        "last_day": days.last.isoformat(),
        "day_after": (days.last + timedelta(days=1)).isoformat(),
        "first_time": days.start.strftime(written),
        "end_time": days.end.strftime(written),
        "first_unix": str(int(days.start.timestamp())),
        "end_unix": str(int(days.end.timestamp())),
    }


def words_in(value: object) -> Iterator[str]:
    """Yield every placeholder in braces, inside lists and mappings too; other braces are text."""
    for text in _texts(value):
        yield from _PLACEHOLDER.findall(text)


def filled(value: Any, words: Mapping[str, str]) -> Any:  # noqa: ANN401  # JSON in, JSON out
    """Replace known placeholders in a value; unknown ones stay unchanged."""
    if isinstance(value, str):
        return _PLACEHOLDER.sub(lambda found: words.get(found[1], found[0]), value)
    if isinstance(value, Mapping):
        return {key: filled(inner, words) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [filled(inner, words) for inner in value]
    return value


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)
