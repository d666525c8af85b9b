"""Write the catalogue of processors: `python -m convergence.pipelines.catalogue`.

The catalogue is generated from the processors' models and the shipped pipelines, and is placed
between two marks. `--check` exits 1 if the page is not current.
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

PAGE = PROJECT_ROOT / "docs" / "catalogue.md"
CONFIGS = PROJECT_ROOT / "include" / "configs"
BEGIN = "<!-- catalogue: written by `make docs` -->"
END = "<!-- /catalogue -->"
_HEAD = ("ps_type", "does", "pipelines, cadence", "tables")


@dataclass
class Entry:
    """One processor: its summary, the pipelines that use it, and the tables it fills there."""

    ps_type: str
    does: str
    pipelines: dict[str, str] = field(default_factory=dict)
    tables: dict[str, None] = field(default_factory=dict)

    def build_cells(self) -> tuple[str, ...]:
        """Return the cells of the entry's row."""
        used = ", ".join(f"`{path}` {schedule}" for path, schedule in self.pipelines.items())
        filled = ", ".join(f"`{name}`" for name in self.tables)
        return f"`{self.ps_type}`", self.does, used or "-", filled or "-"


def list_entries(specs: Sequence[PipelineSpec]) -> list[Entry]:
    """Return an entry for every processor, by name."""
    found = {name: _build_entry(name) for name in registry.list_ps_types()}
    for spec in specs:
        for step in spec.steps:
            entry = found[step.ps_type]
            entry.pipelines[spec.path] = cadence(spec.schedule)
            entry.tables |= dict.fromkeys(_list_tables(step))
    return list(found.values())


def render_catalogue(specs: Sequence[PipelineSpec]) -> str:
    """Render the catalogue in Markdown, between its marks."""
    lines = [_render_row(_HEAD), _render_row(["---"] * len(_HEAD))]
    lines += [_render_row(entry.build_cells()) for entry in list_entries(specs)]
    return "\n".join([BEGIN, "", *lines, "", END])


def insert_catalogue(document: str, catalogue: str) -> str:
    """Return the document with the catalogue between its marks.

    Raises:
        ConfigurationError: the document lacks a mark, repeats one, or has them in the wrong order.
    """
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in after or END in after:
        raise ConfigurationError(
            "The document must have both marks of the catalogue once", marks=BEGIN
        )
    return before + catalogue + after


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the catalogue, or compare it with the file and return 1 if they differ."""
    parser = argparse.ArgumentParser(prog="catalogue", description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare only; write nothing")
    parser.add_argument("--path", type=Path, default=PAGE)
    parser.add_argument("--configs", type=Path, default=CONFIGS)
    options = parser.parse_args(arguments)
    path: Path = options.path
    committed = path.read_text(encoding="utf-8")
    specs = list(load_all(options.configs).specs.values())
    current = insert_catalogue(committed, render_catalogue(specs))
    if not options.check:
        path.write_text(current, encoding="utf-8")
        return 0
    if committed == current:
        return 0
    sys.stderr.write(f"{path.name} is not current: run `make docs`\n")
    return 1


def _build_entry(name: str) -> Entry:
    return Entry(name, registry.find_config(name).get_summary().rstrip("."))


def _list_tables(step: StepSpec) -> Iterator[str]:
    """Yield the tables that a step publishes by day, and the table named in its `config`."""
    yield from step.parsed.daily_tables()
    table: Any = step.config.get("table") or step.config.get("destination")
    if isinstance(table, dict):
        table = table.get("table")
    if isinstance(table, str):
        yield table


def _render_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


if __name__ == "__main__":
    sys.exit(main())
