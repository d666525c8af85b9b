"""What a loop has done so far: kept in a file, so that it goes on where it was stopped."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from convergence.settings import PROJECT_ROOT
from crash.checking.checks import Findings

KEPT = Path(__file__).with_name("kept_seeds.txt")
_DECIDES = (
    "plugins/convergence",
    "include/configs",
    "sandbox/src/convergence_sandbox",
    "tests/crash",
)
KINDS = (
    *("lost", "doubled", "mixed", "stale", "false failure", "no row", "published again"),
    *("stuck", "harness"),
)


def kept_seeds() -> list[int]:
    """Seeds that once found something; they come first in every loop."""
    lines = [line.partition("#")[0].strip() for line in KEPT.read_text().splitlines()]
    return [int(line) for line in lines if line]


def code_digest() -> str:
    """A digest of all that decides what a seed finds."""
    digest = hashlib.sha256()
    for name in _DECIDES:
        for path in sorted((PROJECT_ROOT / name).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                digest.update(str(path.relative_to(PROJECT_ROOT)).encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


class Progress:
    """Findings by seed, of one code and one loader, in a file that only grows."""

    def __init__(self, path: Path, *, naive: bool) -> None:
        self._path = path
        self._key = {"code": code_digest(), "naive": naive}
        self.done = {found.seed: found for found in self._read()}

    def add(self, findings: Findings) -> None:
        """Note a seed's findings."""
        self.done[findings.seed] = findings
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a") as file:
            file.write(json.dumps({**self._key, "findings": asdict(findings)}) + "\n")

    def _read(self) -> Iterator[Findings]:
        if not self._path.exists():
            return
        for line in self._path.read_text().splitlines():
            entry = json.loads(line)
            if {name: entry[name] for name in self._key} == self._key:
                yield Findings(**entry["findings"])


def line_of(findings: Findings) -> str:
    """One line about a seed."""
    struck = ", ".join(f"{count} {name}" for name, count in sorted(findings.struck.items()))
    result = "ok" if not findings.wrong else f"WRONG {findings.wrong}"
    return (
        f"seed {findings.seed:4d}  {findings.name:18s} {findings.seconds:5.1f} s "
        f"{findings.reads:4d} reads  [{struck or 'no fault struck'}]  {result}"
    )


def summary(found: Sequence[Findings], *, naive: bool = False) -> str:
    """The closing table."""
    struck: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    for one in found:
        struck.update(one.struck)
        wrong.update({kind.removeprefix("seen ") for kind in one.kinds})
    lines = [
        f"seeds                {len(found)}",
        f"reads meanwhile      {sum(one.reads for one in found)}",
        f"faults that struck   {struck.total()}",
        *(f"  {name:32s} {count}" for name, count in sorted(struck.items())),
        "seeds with findings",
        *(f"  {kind:32s} {wrong[kind]}" for kind in KINDS),
    ]
    failing = [one.seed for one in found if one.wrong]
    if failing:
        more = " ARGS=--naive" if naive else ""
        lines.append(f"replay: make crash SEED={','.join(map(str, failing))}{more}")
    return "\n".join(lines)
