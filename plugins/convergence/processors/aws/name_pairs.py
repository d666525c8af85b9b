"""Names with values, such as tags, in one canonical text: a JSON object with sorted names."""

from __future__ import annotations

import json
from typing import Any

import polars as pl


def canonical_pairs(column: pl.Series) -> pl.Series:
    """Return a column of tags as canonical texts; null where there are none.

    A text that is no JSON object stays as it is: nothing that allocation needs is dropped.
    """
    known = column.unique().drop_nulls()
    texts = {text: _canonical(text) for text in known}
    if not texts:
        return column
    return column.replace_strict(texts, default=None, return_dtype=pl.String)


def _canonical(text: str) -> str | None:
    try:
        found: Any = json.loads(text)
        if isinstance(found, list):
            found = {pair["key"]: pair["value"] for pair in found}
    except (ValueError, KeyError, TypeError, RecursionError):
        return text
    if not isinstance(found, dict):
        return text
    # AWS writes a name without a value for each tag that a resource does not have.
    kept = {name: value for name, value in found.items() if value not in (None, "")}
    if not kept:
        return None
    return json.dumps(kept, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
