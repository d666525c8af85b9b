"""Effects from a TOML file that the sandbox reads when it starts."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

from convergence_sandbox.providers.bills.effect import Effect, parse_effect
from convergence_sandbox.providers.bills.line import BillSource
from convergence_sandbox.providers.bills.parameter import InvalidEffectError


def load_effects(path: Path, sources: Mapping[str, BillSource]) -> list[Effect]:
    """Return the effects of a file with one `[[effect]]` table for each, in the file's order.

    Raises:
        InvalidEffectError: names the file and the effect that is wrong.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"), parse_float=Decimal)
    except (OSError, ValueError) as error:
        raise InvalidEffectError(f"{path}: {error}") from error
    rows = document.pop("effect", [])
    if document or not isinstance(rows, list):
        raise InvalidEffectError(f"{path}: only [[effect]] tables are accepted")
    found = []
    for at, row in enumerate(rows, start=1):
        try:
            found.append(parse_effect(row, sources))
        except InvalidEffectError as error:
            raise InvalidEffectError(f"{path}: effect {at}: {error}") from None
    return found
