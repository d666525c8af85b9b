"""Render docs/errors.md from the error classes, the run error codes and the HTTP error codes."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from itertools import pairwise

from convergence.api.http.problems import HTTP_ERROR_CODES
from convergence.errors import (
    ConfigurationError,
    ConvergenceError,
    FatalError,
    RequestError,
    RetryableError,
)
from convergence.run_error_codes import RunErrorCode

_INTRODUCTION = """\
# Errors

Every error has a `code`, which is stable: programs may depend on it. The API responds with
`application/problem+json` with `code`, `detail` and `request_id`. A failed run's `error` has a
`code` and a `message`. Written by `make docs` from `plugins/convergence/errors/`.
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
    for branch, title, intro in _BRANCHES:
        rows = [_render_row(error) for error in _walk(branch)]
        header = ["| code | HTTP | cause | what to do |", "|---|---|---|---|"]
        parts.append("\n".join([f"## {title}", "", intro, "", *header, *rows]) + "\n")
    parts += [_render_http_section(), _render_run_section()]
    return "\n".join(parts)


def _render_http_section() -> str:
    """Return the section of codes that the web framework's own errors get."""
    rows = [
        f"| `{code}` | {status} | {HTTPStatus(status).description or HTTPStatus(status).phrase} |"
        for status, code in sorted(HTTP_ERROR_CODES.items())
    ]
    header = ["| code | HTTP | cause |", "|---|---|---|"]
    return "\n".join(["## Errors of the HTTP protocol", "", *header, *rows]) + "\n"


def _render_run_section() -> str:
    """Return the section of codes that only runs and steps have."""
    rows = [f"| `{code}` | {text} |" for code, text in read_run_errors().items()]
    introduction = [
        "## Errors of runs and steps",
        "",
        "A step that failed has the code of its error above. These codes are in the `error` of",
        "runs and steps.",
        "",
        "| code | cause and what to do |",
        "|---|---|",
    ]
    return "\n".join([*introduction, *rows]) + "\n"


def read_run_errors() -> Mapping[str, str]:
    """Return the docstrings below the members of `RunErrorCode`, by code."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(RunErrorCode)))
    body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
    found: dict[str, str] = {}
    for member, below in pairwise(body):
        if (
            isinstance(member, ast.Assign)
            and isinstance(member.targets[0], ast.Name)
            and isinstance(below, ast.Expr)
            and isinstance(below.value, ast.Constant)
        ):
            code = RunErrorCode[member.targets[0].id].value
            found[code] = " ".join(str(below.value.value).split())
    return found


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
