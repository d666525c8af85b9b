"""From pages to one file per day: sorted out, hashed, summed and packed, in flat memory."""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Context, Decimal, Inexact
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

from convergence.errors import ProviderProtocolError
from convergence.extract.canonical import ContentHash
from convergence.extract.disk import Disk, write_durably
from convergence.extract.unique import UniqueRows
from convergence.warehouse.day_file import DayFile, Money

Row = Mapping[str, Any]

_SEALED = "sealed"
_SORTING = "sorting"
_HELD_BYTES = 4 * 1024 * 1024
_CHUNK = 1024 * 1024
_LEVEL = 1
# The default context would round a sum to 28 digits; this one refuses to round.
_EXACT = Context(prec=200, traps=[Inexact])


@dataclass
class _Day:
    """A day while it is being put together; `held` are lines that wait to be written."""

    path: Path
    content: ContentHash = field(default_factory=ContentHash)
    totals: dict[tuple[str, str], Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    pages: int = 0
    held: list[bytes] = field(default_factory=list)


class DayFileWriter:
    """Deals rows into days. A crash anywhere leaves only what the next `begin` wipes away."""

    def __init__(
        self,
        work: Path,
        *,
        days: Sequence[date],
        disk: Disk,
        money_of: Callable[[Row], Money | None] | None,
        unique_by: Sequence[str],
    ) -> None:
        self._sealed = work / _SEALED
        self._sorting = work / _SORTING
        self._disk = disk
        self._days = {day: _Day(self._sorting / day.isoformat()) for day in sorted(set(days))}
        self._money_of = money_of
        self._unique = UniqueRows(self._sorting, disk=disk) if unique_by else None
        self._unique_by = tuple(unique_by)
        self._held_bytes = 0

    def begin(self) -> None:
        """Wipe what an earlier attempt at sealing left."""
        for directory in (self._sorting, self._sealed):
            self._disk.remove_tree(directory)
            self._disk.make_directory(directory)

    def add_page(self, lines: Iterable[bytes], *, day_of: Callable[[Row], date]) -> None:
        """Deal the rows of one page."""
        touched = set()
        for line in lines:
            row = json.loads(line)
            day = self._days.get(day_of(row))
            if day is None:
                raise ProviderProtocolError(
                    "A row belongs to a day that was not asked for", day=str(day_of(row))
                )
            touched.add(day.path)
            self._add(day, line, row)
        for day in self._days.values():
            day.pages += day.path in touched

    def finish(self) -> dict[date, DayFile]:
        """Pack every asked day; its file is there whole or not at all."""
        self._flush()
        if self._unique is not None:
            self._unique.check()
        sealed = {day: self._pack(day, found) for day, found in self._days.items()}
        self._disk.remove_tree(self._sorting)
        return sealed

    def _add(self, day: _Day, line: bytes, row: Row) -> None:
        day.content.add(line)
        day.held.append(line)
        if self._unique is not None:
            self._unique.add(_identity(row, self._unique_by))
        money = self._money_of(row) if self._money_of else None
        if money is not None:
            face = money.currency, money.basis
            day.totals[face] = _EXACT.add(day.totals[face], money.amount)
        self._held_bytes += len(line) + 1
        if self._held_bytes >= _HELD_BYTES:
            self._flush()

    def _flush(self) -> None:
        """Append what is held to each day's own file."""
        for day in self._days.values():
            if day.held:
                with day.path.open("ab") as file:
                    file.write(b"\n".join([*day.held, b""]))
                day.held.clear()
        self._held_bytes = 0

    def _pack(self, day: date, found: _Day) -> DayFile:
        path = self._sealed / f"{day.isoformat()}.ndjson.gz"
        write_durably(self._disk, path, _packed(found.path))
        totals = tuple(sorted(Money(*face, amount=amount) for face, amount in found.totals.items()))
        return DayFile(
            path=path,
            row_count=found.content.rows,
            content_hash=found.content.hexdigest(),
            totals=totals,
            source_pages=found.pages,
        )


def _packed(path: Path) -> Iterator[bytes]:
    """A gzip file without name and time in it, so that equal rows are equal bytes."""
    buffer = BytesIO()
    with gzip.GzipFile("", "wb", _LEVEL, buffer, mtime=0) as packer:
        if path.exists():
            with path.open("rb") as plain:
                while chunk := plain.read(_CHUNK):
                    packer.write(chunk)
                    yield _taken(buffer)
    yield _taken(buffer)


def _taken(buffer: BytesIO) -> bytes:
    """What a buffer holds; it is empty afterwards."""
    data = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    return data


def _identity(row: Row, fields: Sequence[str]) -> bytes:
    told = json.dumps([row.get(name) for name in fields], sort_keys=True)
    return sha256(told.encode()).digest()
