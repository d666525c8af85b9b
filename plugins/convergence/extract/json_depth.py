"""Limit how deep a JSON text is nested, before it is parsed."""

from __future__ import annotations

import re
from itertools import accumulate
from typing import Final

from convergence.errors import ShapeChangedError

MAX_DEPTH: Final = 100
"""BigQuery's JSON type takes 500 levels; no report of a provider has more than ten."""
MAX_NAMES: Final = 4
_TOKEN: Final = re.compile(rb'"([^"\\]*(?:\\.[^"\\]*)*)"\s*(:?)|[\[\]{}]', re.DOTALL)
_OTHERS: Final = bytes(set(range(256)) - set(b'[]{}"'))
_STEPS: Final = [0] * 256
for _bracket, _step in zip(b"[{]}", (1, 1, -1, -1), strict=True):
    _STEPS[_bracket] = _step


def check_depth(body: bytes) -> None:
    """Reject a text that is nested deeper than `MAX_DEPTH`.

    Raises:
        ShapeChangedError: it is; the error names the field.
    """
    if body.count(b"{") + body.count(b"[") <= MAX_DEPTH:
        return
    if max(accumulate(map(_STEPS.__getitem__, _list_brackets(body))), default=0) > MAX_DEPTH:
        raise ShapeChangedError(
            "The response is nested too deep", field=_find_deep_field(body), max_depth=MAX_DEPTH
        )


def _list_brackets(body: bytes) -> bytes:
    """Return the brackets outside of strings, without a loop in Python."""
    unescaped = body.replace(b"\\\\", b"").replace(b'\\"', b"") if b"\\" in body else body
    return b"".join(unescaped.translate(None, _OTHERS).split(b'"')[::2])


def _find_deep_field(body: bytes) -> str:
    """Return the dotted names that lead to the first value that is nested too deep."""
    names: list[str] = []
    name = ""
    for token in _TOKEN.finditer(body):
        if token[0] in {b"{", b"["}:
            names.append(name)
            name = ""
        elif token[0] in {b"}", b"]"}:
            del names[-1:]
        elif token[2]:
            name = token[1].decode(errors="backslashreplace")
        if len(names) > MAX_DEPTH:
            break
    return ".".join([one for one in names if one][:MAX_NAMES])
