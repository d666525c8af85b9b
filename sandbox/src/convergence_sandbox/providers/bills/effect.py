"""One effect on one organization's bill, checked: what, where, when and with which parameters."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from fnmatch import fnmatchcase
from typing import Any

from convergence_sandbox.providers.bills.kind import Context, EffectKind
from convergence_sandbox.providers.bills.line import BillLine, BillSource, View
from convergence_sandbox.providers.bills.parameter import (
    InvalidEffectError,
    Value,
    parse_parameters,
)

FIELDS = ("org", "provider", "name", "models", "meters", "first_day", "last_day", "parameters")
_ORG = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,79}")


@dataclass(frozen=True)
class Effect:
    """An effect in force.

    Attributes:
        identity: its number in the book.
        org: the seed in the organization's key.
        models: patterns of the models that it touches; empty: every line.
        meters: patterns of the meters that it touches; empty: every meter.
        first_day: None: from the beginning.
        last_day: included; None: without end.
    """

    source: BillSource
    kind: EffectKind
    org: str
    parameters: Mapping[str, Value]
    models: tuple[str, ...] = ()
    meters: tuple[str, ...] = ()
    first_day: date | None = None
    last_day: date | None = None
    identity: int = 0

    def applies_on(self, day: date) -> bool:
        """Return whether the day is in the effect's range."""
        begun = self.first_day is None or self.first_day <= day
        return begun and (self.last_day is None or day <= self.last_day)

    def touches(self, line: BillLine) -> bool:
        """Return whether the effect is meant for a line."""
        if self.kind.tokens_only and line.measure is None:
            return False
        return _matches(self.models, line.model) and _matches(self.meters, line.meter)

    def apply_to(self, lines: Sequence[BillLine], day: date, view: View) -> list[BillLine]:
        """Return a day's lines after the effect."""
        context = Context(self.source, self.org, day, view, self.parameters, self.touches)
        return self.kind.apply(lines, context)

    def with_identity(self, identity: int) -> Effect:
        """Return the effect under its number."""
        return replace(self, identity=identity)

    def as_json(self) -> dict[str, Any]:
        """Return the effect as it can be added again, with its number."""
        return {
            "id": self.identity,
            "org": self.org,
            "provider": self.source.name,
            "name": self.kind.name,
            "models": list(self.models),
            "meters": list(self.meters),
            "first_day": None if self.first_day is None else self.first_day.isoformat(),
            "last_day": None if self.last_day is None else self.last_day.isoformat(),
            "parameters": {name: str(value) for name, value in self.parameters.items()},
        }


def parse_effect(payload: object, sources: Mapping[str, BillSource]) -> Effect:
    """Check a specification of JSON or TOML.

    Raises:
        InvalidEffectError: names what is wrong and lists what is accepted.
    """
    if not isinstance(payload, Mapping):
        raise InvalidEffectError(f"an effect is an object with {', '.join(FIELDS)}")
    if unknown := sorted(set(map(str, payload)) - {*FIELDS, "id"}):
        raise InvalidEffectError(f"unknown keys {unknown}; accepted: {', '.join(FIELDS)}")
    source = _choose(sources, payload.get("provider"), "provider")
    kind: EffectKind = _choose(source.kinds, payload.get("name"), f"effect of {source.name}")
    org = payload.get("org")
    if not isinstance(org, str) or not _ORG.fullmatch(org):
        raise InvalidEffectError(f"org: {org!r} is not the seed of an organization's key")
    models = _read_patterns(payload, "models")
    if kind.needs_models and not models:
        raise InvalidEffectError(f"{kind.name} needs models: the patterns of the models it touches")
    parameters = payload.get("parameters") or {}
    if not isinstance(parameters, Mapping):
        raise InvalidEffectError("parameters is an object")
    return Effect(
        source,
        kind,
        org,
        parse_parameters(kind.parameters, parameters),
        models,
        _read_patterns(payload, "meters"),
        _read_day(payload, "first_day"),
        _read_day(payload, "last_day"),
        int(payload.get("id") or 0),
    )


def _choose(accepted: Mapping[str, Any], name: object, what: str) -> Any:  # noqa: ANN401
    if not isinstance(name, str) or name not in accepted:
        raise InvalidEffectError(
            f"unknown {what} {name!r}; accepted: {', '.join(sorted(accepted))}"
        )
    return accepted[name]


def _read_patterns(payload: Mapping[Any, Any], name: str) -> tuple[str, ...]:
    values = payload.get(name) or []
    if not isinstance(values, list) or not all(isinstance(one, str) and one for one in values):
        raise InvalidEffectError(f"{name} is a list of patterns such as 'gpt-4o-*'")
    return tuple(values)


def _read_day(payload: Mapping[Any, Any], name: str) -> date | None:
    value = payload.get(name)
    if value is None or type(value) is date:
        return value
    try:
        return date.fromisoformat(value)
    except (TypeError, ValueError):
        raise InvalidEffectError(f"{name}: {value!r} is not a day such as 2026-11-17") from None


def _matches(patterns: Sequence[str], text: str | None) -> bool:
    matches: Callable[[str], bool] = lambda pattern: fnmatchcase(text or "", pattern)  # noqa: E731
    return not patterns or (text is not None and any(map(matches, patterns)))
