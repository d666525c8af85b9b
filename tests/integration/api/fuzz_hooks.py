"""What schemathesis can't know about the API; loaded by `schemathesis.toml`."""

from __future__ import annotations

import itertools
from typing import Any

import schemathesis

HEADER = "Idempotency-Key"
_number = itertools.count()


@schemathesis.hook
def before_call(
    context: schemathesis.HookContext, case: schemathesis.Case[Any], kwargs: dict[str, object]
) -> None:
    """Make a key one of its own, as long as it was: another request's would rightly be refused."""
    given = case.headers.get(HEADER) if case.headers else None
    if isinstance(given, str) and given:
        number = f"{next(_number):07d}"
        case.headers[HEADER] = given[: -len(number)] + number
