"""Render docs/errors.md from the error classes, the run error codes and the HTTP error codes."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

from convergence.errors import (
    ConfigurationError,
    ConvergenceError,
    FatalError,
    RequestError,
    RetryableError,
)

_INTRODUCTION = """\
# Errors

Every error has a `code`, which is stable: programs may depend on it. The API responds with
`application/problem+json` with `code`, `detail` and `request_id`. A failed run's `error` has a
`code` and a `message`. Written by `make docs` from `plugins/convergence/errors.py`.
"""

_BRANCHES: tuple[tuple[type[ConvergenceError], str, str], ...] = (
    (ConfigurationError, "Correct the configuration", "The operator or a pipeline author acts."),
    (RequestError, "Correct the request", "The caller acts; repeating the request does not help."),
    (RetryableError, "Try again", "The same call may succeed later; tasks retry by themselves."),
    (FatalError, "Investigate", "Repeating does not help; a person reads the message."),
)


def render_errors_page() -> str:
    """Return the page: one table for each branch of the error classes."""
    parts = [_INTRODUCTION]
    for branch, title, who_acts in _BRANCHES:
        rows = [_render_row(error) for error in _walk(branch)]
        header = ["| code | HTTP | cause | what to do |", "|---|---|---|---|"]
        parts.append("\n".join([f"## {title}", "", who_acts, "", *header, *rows]) + "\n")
    return "\n".join(parts)


def _walk(error: type[ConvergenceError]) -> Iterator[type[ConvergenceError]]:
    """Yield an error class and its subclasses that have a code of their own."""
    if "code" in vars(error):
        yield error
    for subclass in error.__subclasses__():
        if subclass.__module__ == "convergence.errors":
            yield from _walk(subclass)


def _render_row(error: type[ConvergenceError]) -> str:
    cause, remedy = read_cause_and_remedy(error)
    return f"| `{error.code}` | {error.http_status} | {cause} | {remedy} |"


def read_cause_and_remedy(error: type[ConvergenceError]) -> tuple[str, str]:
    """Return the cause and the remedy that an error's docstring states, as sentences.

    Raises:
        ValueError: the docstring lacks one of the two, naming the class.
    """
    paragraphs = [" ".join(part.split()) for part in (inspect.getdoc(error) or "").split("\n\n")]
    remedies = [part for part in paragraphs if part.startswith("Remedy:")]
    if not paragraphs[0].startswith("Raised when ") or len(remedies) != 1:
        raise ValueError(f'{error.__name__}: the docstring needs "Raised when …" and "Remedy: …"')
    cause = paragraphs[0].removeprefix("Raised when ")
    return _capitalize(cause), _capitalize(remedies[0].removeprefix("Remedy: "))


def _capitalize(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]
