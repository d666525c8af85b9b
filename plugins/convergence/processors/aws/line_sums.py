"""Add up the lines of a billing period in limited memory: one piece of a file, then one day.

Lines are as many as the resources, hours and kinds of usage of a month. The sums of each piece go
to disk once memory holds `MAX_ROWS` of them, and are added up again day by day.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Final

import polars as pl

MAX_ROWS: Final = 200_000
Merge = Callable[[pl.LazyFrame], pl.LazyFrame]
DAY: Final = "usage_date"


@dataclass
class PartialSums:
    """The sums of the pieces so far.

    Attributes:
        merge: adds up the rows of several pieces.
        folder: takes the pieces that memory does not; without one, memory takes all.
    """

    merge: Merge
    folder: Path | None = None
    _parts: list[pl.DataFrame] = field(default_factory=list)
    _files: list[Path] = field(default_factory=list)
    _days: set[date] = field(default_factory=set)

    def add(self, part: pl.DataFrame) -> None:
        """Add the sums of one piece."""
        self._days.update(part[DAY].unique())
        self._parts.append(part)
        if sum(one.height for one in self._parts) <= MAX_ROWS:
            return
        merged = self.merge(pl.concat(self._parts, how="diagonal").lazy()).collect()
        self._parts = [merged]
        if self.folder is not None and merged.height > MAX_ROWS // 2:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            path = self.folder / f"{len(self._files):05d}.parquet"
            # By day, so that reading a day skips the others.
            merged.sort(DAY).write_parquet(path, row_group_size=10_000)
            self._files.append(path)
            self._parts = []

    @property
    def columns(self) -> list[str]:
        """Names of the columns of any piece."""
        return self._all().collect_schema().names() if self._days else []

    def days(self) -> Iterator[pl.DataFrame]:
        """Yield the sums of each day, in order of the days."""
        for day in sorted(self._days):
            yield self.merge(self._all().filter(pl.col(DAY) == day)).collect()

    def _all(self) -> pl.LazyFrame:
        stored = [pl.scan_parquet(path) for path in self._files]
        return pl.concat([*stored, *(one.lazy() for one in self._parts)], how="diagonal")
