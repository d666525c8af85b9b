"""Faults on request: which there are, which requests they strike, and how often."""

from __future__ import annotations

import json
import random
import re
import threading
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

TRANSPORT = frozenset(
    {"hang", "reset", "drip", "truncated", "oversized", "gzip_bomb", "truncated_gzip"}
)
STATUS = frozenset({"rate_limited", "status", "unauthorized", "redirect"})
CONTENT = frozenset(
    {
        "malformed",
        "html",
        "bad_utf8",
        "nan",
        "huge_number",
        "duplicate_keys",
        "deep_nesting",
        "type_drift",
        "new_field",
    }
)
PAGING = frozenset(
    {
        "loop",
        "cursor_at_end",
        "empty_page",
        "null_page",
        "missing_page",
        "duplicate_rows",
        "shifted_window",
        "foreign_link",
    }
)
KINDS = TRANSPORT | STATUS | CONTENT | PAGING
SILENT = frozenset({"fewer_rows", "no_rows"})
"""Faults that no client can notice in the response. `random` never chooses them."""


class InvalidFaultError(ValueError):
    """Raised when a fault's specification is wrong; the message lists what is accepted."""


@dataclass
class Fault:
    """One fault in wait.

    Attributes:
        kind: one of `KINDS` or `SILENT`, or `random`: any of `KINDS`, chosen by `seed`.
        path: regular expression searched in the request's path.
        key: regular expression searched in the credential, to strike one org only.
        skip: matching requests that pass unharmed first.
        count: requests to strike; None: all.
        seed: drives every random choice of the fault.
        options: what a kind takes: `status`, `retry_after`, `rate` (bytes/s), `size` (bytes),
            `location`, `keep` (share of the rows).
        state: what a paging fault remembers between pages.
    """

    kind: str
    path: str = ""
    key: str = ""
    skip: int = 0
    count: int | None = 1
    seed: int | str = 0
    options: dict[str, Any] = field(default_factory=dict)
    identity: int = 0
    struck: int = 0
    state: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, payload: Mapping[str, Any]) -> Fault:
        """Check a specification; `provider` is short for a path that starts with its name."""
        fields = dict(payload)
        provider = fields.pop("provider", None)
        if provider is not None:
            fields.setdefault("path", rf"^/{re.escape(str(provider))}/")
        accepted = {"kind", "path", "key", "skip", "count", "seed", "options"}
        if unknown := set(fields) - accepted:
            raise InvalidFaultError(f"unknown keys {sorted(unknown)}; accepted {sorted(accepted)}")
        if fields.get("kind") not in KINDS | SILENT | {"random"}:
            raise InvalidFaultError(f"kind must be random or one of {sorted(KINDS | SILENT)}")
        try:
            re.compile(fields.get("path", ""))
            re.compile(fields.get("key", ""))
        except re.error as error:
            raise InvalidFaultError(f"not a regular expression: {error}") from None
        return cls(**fields)

    @property
    def spent(self) -> bool:
        """Return whether it strikes no more."""
        return self.count is not None and self.struck >= self.count

    def choose(self) -> str:
        """Return the kind to act out now."""
        if self.kind != "random":
            return self.kind
        return random.Random(f"{self.seed}/{self.struck}").choice(sorted(KINDS))  # noqa: S311


class FaultBook:
    """The faults in wait, in `path` so that they outlive a restart."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            self._faults = [Fault(**row) for row in json.loads(path.read_text())]

    def add(self, faults: Iterable[Fault]) -> list[Fault]:
        """Lay faults in wait; the oldest that matches a request strikes."""
        with self._lock:
            added = list(faults)
            for fault in added:
                fault.identity = max((known.identity for known in self._faults), default=0) + 1
                self._faults.append(fault)
            self._save()
            return added

    def all(self) -> list[Fault]:
        """Return those in wait and those spent, oldest first."""
        with self._lock:
            return list(self._faults)

    def clear(self) -> None:
        """Forget every fault."""
        with self._lock:
            self._faults.clear()
            self._save()

    def strike(self, path: str, *, credential: str) -> Fault | None:
        """Return the fault that this request suffers, if any; its count goes down."""
        with self._lock:
            for fault in self._faults:
                if fault.spent or not re.search(fault.path, path):
                    continue
                if not re.search(fault.key, credential):
                    continue
                if fault.skip > 0:
                    fault.skip -= 1
                    continue
                fault.struck += 1
                self._save()
                return fault
            return None

    def _save(self) -> None:
        fresh = self._path.with_suffix(".new")
        fresh.write_text(json.dumps([asdict(fault) for fault in self._faults]))
        fresh.replace(self._path)
