"""The effects in force and how often each bill was read, kept so that they outlive a restart."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, Protocol

from convergence_sandbox.providers.bills.effect import Effect, parse_effect
from convergence_sandbox.providers.bills.line import BillLine, BillSource, View
from convergence_sandbox.providers.bills.statement import DayBill, make_bill
from convergence_sandbox.providers.clock import Clock


class BillReader(Protocol):
    """Reads one organization's bill for a request, as `EffectBook.read_bill` does."""

    def __call__(
        self, days: Sequence[date], *, counts: bool
    ) -> Mapping[date, tuple[BillLine, ...]]:
        """Return the lines of each UTC day."""


class EffectBook:
    """The bill effects of every organization."""

    def __init__(self, path: Path, *, sources: Mapping[str, BillSource], clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._lock = threading.Lock()
        self.sources = sources
        kept: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        self._effects = [parse_effect(row, sources) for row in kept.get("effects", [])]
        self._reads: dict[str, int] = kept.get("reads", {})
        path.parent.mkdir(parents=True, exist_ok=True)

    def add_effects(self, effects: Iterable[Effect]) -> list[Effect]:
        """Put effects in force; they apply after those of the same stage that are there."""
        with self._lock:
            return self._add(effects)

    def replace_effects(self, effects: Sequence[Effect]) -> None:
        """Put effects in force in place of all others of the same organizations and providers.

        Nothing changes, and no count of reads begins again, where the same effects are there.
        """
        pairs = {(one.org, one.source.name) for one in effects}
        with self._lock:
            for org, provider in sorted(pairs):
                fresh = [one for one in effects if (one.org, one.source.name) == (org, provider)]
                known = self._select(org, provider)
                if [_describe(one) for one in fresh] != [_describe(one) for one in known]:
                    self._remove(org, provider)
                    self._add(fresh)

    def list_effects(self, *, org: str | None = None, provider: str | None = None) -> list[Effect]:
        """Return the effects in force, oldest first; None stands for any."""
        with self._lock:
            return self._select(org, provider)

    def clear_effects(self, *, org: str | None = None, provider: str | None = None) -> None:
        """Remove effects, and forget how often the bills were read."""
        with self._lock:
            self._remove(org, provider)
            self._save()

    def read_bill(
        self, provider: str, org: str, days: Sequence[date], *, counts: bool
    ) -> dict[date, tuple[BillLine, ...]]:
        """Return the bills that one request sees.

        Args:
            provider: whose bill.
            org: the seed in the organization's key.
            days: the UTC days of the request.
            counts: the request is a read of its own: no check of a key, no later page.
        """
        if counts:
            self._count_reads(provider, org, days)
        return {
            day: self.make_day(provider, org, day, view=self.current_view(provider, org, day)).lines
            for day in days
        }

    def current_view(self, provider: str, org: str, day: date) -> View:
        """Return what the latest request of a day's bill saw, or the first one will see."""
        with self._lock:
            read = self._reads.get(_name_read(provider, org, day), 0)
        return View(self._clock.now(), max(read, 1))

    def make_day(self, provider: str, org: str, day: date, *, view: View) -> DayBill:
        """Return a day's bill in one view, with what each effect has caused."""
        effects = self.list_effects(org=org, provider=provider)
        return make_bill(self.sources[provider], org, day, effects=effects, view=view)

    def _count_reads(self, provider: str, org: str, days: Sequence[date]) -> None:
        with self._lock:
            counting = [one for one in self._select(org, provider) if one.kind.counts_reads]
            counted = [day for day in days if any(one.applies_on(day) for one in counting)]
            for day in counted:
                name = _name_read(provider, org, day)
                self._reads[name] = self._reads.get(name, 0) + 1
            if counted:
                self._save()

    def _select(self, org: str | None, provider: str | None) -> list[Effect]:
        return [
            one
            for one in self._effects
            if org in {None, one.org} and provider in {None, one.source.name}
        ]

    def _add(self, effects: Iterable[Effect]) -> list[Effect]:
        last = max((one.identity for one in self._effects), default=0)
        added = [one.with_identity(last + at) for at, one in enumerate(effects, start=1)]
        self._effects += added
        self._save()
        return added

    def _remove(self, org: str | None, provider: str | None) -> None:
        gone = {id(one) for one in self._select(org, provider)}
        self._effects = [one for one in self._effects if id(one) not in gone]
        self._reads = {
            name: count
            for name, count in self._reads.items()
            if not _is_read_of(name, provider=provider, org=org)
        }

    def _save(self) -> None:
        kept = {"effects": [one.as_json() for one in self._effects], "reads": self._reads}
        fresh = self._path.with_suffix(".new")
        fresh.write_text(json.dumps(kept))
        fresh.replace(self._path)


def _name_read(provider: str, org: str, day: date) -> str:
    return f"{provider}/{org}/{day}"


def _is_read_of(name: str, *, provider: str | None, org: str | None) -> bool:
    found_provider, found_org, _ = name.split("/")
    return provider in {None, found_provider} and org in {None, found_org}


def _describe(effect: Effect) -> dict[str, Any]:
    return effect.as_json() | {"id": None}
