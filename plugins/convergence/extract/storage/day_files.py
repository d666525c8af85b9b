"""Write one file per day from the pages: split, hash, sum and pack the rows in constant memory."""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import ROUND_HALF_UP, Context, Decimal
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

from convergence.errors import ProviderProtocolError
from convergence.extract.canonical import ContentHash
from convergence.extract.storage.disk import Disk, write_durably
from convergence.extract.storage.figures import EXACT, FigureSpec, FigureSums
from convergence.extract.storage.unique import UniqueRows
from convergence.warehouse.day_file import DayFile, Money

Row = Mapping[str, Any]

_FINISHED = "sealed"
_SORTING = "sorting"
_MAX_BUFFERED_BYTES = 4 * 1024 * 1024
_CHUNK = 1024 * 1024
_LEVEL = 1
_WIDE = Context(prec=200)
_NUMERIC_EXPONENT = -9


@dataclass
class _Day:
    """A day that is being written; `lines` are not yet in its file."""

    path: Path
    content: ContentHash = field(default_factory=ContentHash)
    totals: dict[tuple[str, str], Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    pages: int = 0
    lines: list[bytes] = field(default_factory=list)
    figures: FigureSums | None = None


class DayFileWriter:
    """Split rows into files by day. After a crash, `begin` removes the incomplete files."""

    def __init__(
        self,
        work: Path,
        *,
        days: Sequence[date],
        disk: Disk,
        money_of: Callable[[Row], Money | None] | None,
        unique_by: Sequence[str],
        figures: FigureSpec | None = None,
    ) -> None:
        self._finished = work / _FINISHED
        self._sorting = work / _SORTING
        self._disk = disk
        self._days = {
            day: _Day(
                self._sorting / day.isoformat(),
                figures=None if figures is None else FigureSums(figures),
            )
            for day in sorted(set(days))
        }
        self._money_of = money_of
        self._unique = UniqueRows(self._sorting, disk=disk) if unique_by else None
        self._unique_by = tuple(unique_by)
        self._buffered_bytes = 0

    def begin(self) -> None:
        """Remove the files of an earlier attempt."""
        for directory in (self._sorting, self._finished):
            self._disk.remove_tree(directory)
            self._disk.make_directory(directory)

    def add_page(self, lines: Iterable[bytes], *, day_of: Callable[[Row], date]) -> None:
        """Add the rows of one page to their days."""
        touched = set()
        for line in lines:
            row = json.loads(line)
            day = self._days.get(day_of(row))
            if day is None:
                raise ProviderProtocolError(
                    "A row belongs to a day that was not requested", day=str(day_of(row))
                )
            touched.add(day.path)
            self._add_row(day, line, row)
        for day in self._days.values():
            day.pages += day.path in touched

    def finish(self) -> dict[date, DayFile]:
        """Pack every requested day; each file is written completely or not at all."""
        self._flush_lines()
        if self._unique is not None:
            self._unique.check_unique()
        finished = {day: self._pack_day(day, found) for day, found in self._days.items()}
        self._disk.remove_tree(self._sorting)
        return finished

    def _add_row(self, day: _Day, line: bytes, row: Row) -> None:
        day.content.add(line)
        day.lines.append(line)
        if self._unique is not None:
            self._unique.add(_hash_identity(row, self._unique_by))
        money = self._money_of(row) if self._money_of else None
        if money is not None:
            key = money.currency, money.basis
            day.totals[key] = EXACT.add(day.totals[key], money.amount)
        if day.figures is not None:
            day.figures.add_row(row)
        self._buffered_bytes += len(line) + 1
        if self._buffered_bytes >= _MAX_BUFFERED_BYTES:
            self._flush_lines()

    def _flush_lines(self) -> None:
        """Append the buffered lines to the file of each day."""
        for day in self._days.values():
            if day.lines:
                with day.path.open("ab") as file:
                    file.write(b"\n".join([*day.lines, b""]))
                day.lines.clear()
        self._buffered_bytes = 0

    def _pack_day(self, day: date, found: _Day) -> DayFile:
        path = self._finished / f"{day.isoformat()}.ndjson.gz"
        write_durably(self._disk, path, _pack_file(found.path))
        totals = (Money(*key, amount=_round_total(sum_)) for key, sum_ in found.totals.items())
        return DayFile(
            path=path,
            row_count=found.content.rows,
            content_hash=found.content.hexdigest(),
            totals=tuple(sorted(totals)),
            source_pages=found.pages,
            figures=None if found.figures is None else found.figures.build_figures(),
        )


def _round_total(total: Decimal) -> Decimal:
    """Return a day's exact sum with the 9 decimals of NUMERIC."""
    if total.as_tuple().exponent >= _NUMERIC_EXPONENT:  # type: ignore[operator]  # it is finite
        return total
    return total.quantize(Decimal(1).scaleb(_NUMERIC_EXPONENT), ROUND_HALF_UP, context=_WIDE)


def _pack_file(path: Path) -> Iterator[bytes]:
    """Yield a gzip file without name and time, so that equal rows are equal bytes."""
    buffer = BytesIO()
    with gzip.GzipFile("", "wb", _LEVEL, buffer, mtime=0) as packer:
        if path.exists():
            with path.open("rb") as plain:
                while chunk := plain.read(_CHUNK):
                    packer.write(chunk)
                    yield _drain_buffer(buffer)
    yield _drain_buffer(buffer)


def _drain_buffer(buffer: BytesIO) -> bytes:
    """Return the content of a buffer and empty it."""
    data = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    return data


def _hash_identity(row: Row, fields: Sequence[str]) -> bytes:
    identity = json.dumps([row.get(name) for name in fields], sort_keys=True)
    return sha256(identity.encode()).digest()
