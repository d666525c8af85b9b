"""Write the README's catalogue of processors: `python -m convergence.pipelines.catalogue`.

It is made from the processors' own models and the shipped pipelines, and stands between two marks.
`--check` exits 1 when the README is not current.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from convergence.errors import ConfigurationError
from convergence.pipelines.files.loader import load_all
from convergence.pipelines.files.schedule import cadence
from convergence.pipelines.files.spec import PipelineSpec, StepSpec
from convergence.processors import registry
from convergence.settings import PROJECT_ROOT

README = PROJECT_ROOT / "README.md"
CONFIGS = PROJECT_ROOT / "include" / "configs"
BEGIN = "<!-- catalogue: written by `make docs` -->"
END = "<!-- /catalogue -->"
_HEAD = ("ps_type", "does", "pipelines, cadence", "tables")


@dataclass
class Entry:
    """One processor: what it does, where it is used, and what it fills there."""

    ps_type: str
    does: str
    pipelines: dict[str, str] = field(default_factory=dict)
    tables: dict[str, None] = field(default_factory=dict)

    def cells(self) -> tuple[str, ...]:
        """The entry as a line of the table."""
        used = ", ".join(f"`{path}` {told}" for path, told in self.pipelines.items())
        filled = ", ".join(f"`{name}`" for name in self.tables)
        return f"`{self.ps_type}`", self.does, used or "-", filled or "-"


def entries(specs: Sequence[PipelineSpec]) -> list[Entry]:
    """Every processor, by name."""
    found = {name: _entry(name) for name in registry.available()}
    for spec in specs:
        for step in spec.steps:
            entry = found[step.ps_type]
            entry.pipelines[spec.path] = cadence(spec.schedule)
            entry.tables |= dict.fromkeys(_tables(step))
    return list(found.values())


def text(specs: Sequence[PipelineSpec]) -> str:
    """The catalogue in Markdown, between its marks."""
    lines = [_line(_HEAD), _line(["---"] * len(_HEAD))]
    lines += [_line(entry.cells()) for entry in entries(specs)]
    return "\n".join([BEGIN, "", *lines, "", END])


def written(document: str, catalogue: str) -> str:
    """A document with the catalogue put between its marks.

    Raises:
        ConfigurationError: it has not both marks, once each and in order.
    """
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in after or END in after:
        raise ConfigurationError("The document has not one place for the catalogue", marks=BEGIN)
    return before + catalogue + after


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the catalogue, or compare it with what is there."""
    parser = argparse.ArgumentParser(prog="catalogue", description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    parser.add_argument("--path", type=Path, default=README)
    parser.add_argument("--configs", type=Path, default=CONFIGS)
    options = parser.parse_args(arguments)
    path: Path = options.path
    there = path.read_text(encoding="utf-8")
    current = written(there, text(list(load_all(options.configs).specs.values())))
    if not options.check:
        path.write_text(current, encoding="utf-8")
        return 0
    if there == current:
        return 0
    sys.stderr.write(f"{path.name} is not current: run `make docs`\n")
    return 1


def _entry(name: str) -> Entry:
    return Entry(name, registry.find_config(name).summary().rstrip("."))


def _tables(step: StepSpec) -> Iterator[str]:
    """What a step publishes by day, and the table it names where that has no days."""
    yield from step.parsed.tables()
    told: Any = step.config.get("table") or step.config.get("destination")
    if isinstance(told, dict):
        told = told.get("table")
    if isinstance(told, str):
        yield told


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


if __name__ == "__main__":
    sys.exit(main())
