"""Where an extraction's pages wait on disk until all have come, and where it goes on after a crash.

    {directory}/work-000003/manifest.json      what the pages belong to
                            000001.page …      page and checkpoint in one
                            sealed/{day}.ndjson.gz

Opening renames the work directory: an attempt that was thought dead and still runs finds its
directory gone at its next write, and ends with `SupersededError` instead of mixing its pages in.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from hashlib import sha256
from pathlib import Path
from typing import Any

from convergence.errors import ProviderProtocolError, SpoolError, SupersededError
from convergence.extract import canonical, pages
from convergence.extract.day_files import DayFileWriter
from convergence.extract.disk import Disk, write_durably
from convergence.extract.pages import PageRecord
from convergence.warehouse.day_file import DayFile, Money

VERSION = 2
_MANIFEST = "manifest.json"
_WORK = "work-"

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ResumePoint:
    """The last durable page and the token of the one to ask for next."""

    page: int
    token: str


class Spool:
    """The pages of one extraction. One writer; the newest `open` is it."""

    def __init__(self, work: Path, records: list[PageRecord], *, disk: Disk) -> None:
        """For `open` only."""
        self._work = work
        self._records = records
        self._disk = disk

    @classmethod
    def open(cls, directory: Path, *, fingerprint: str, disk: Disk | None = None) -> Spool:
        """Take over what an earlier attempt left, if it asked for the same; else start afresh.

        Args:
            directory: the slice's own; made if missing.
            fingerprint: of everything that decides the content (`fingerprint_of`). Another one,
                or another version of this layout, discards the pages.
            disk: in place of the operating system's, for tests.

        Raises:
            SpoolError: the disk refuses.
        """
        disk = disk or Disk()
        manifest = json.dumps({"version": VERSION, "fingerprint": fingerprint}).encode()
        with _named_errors(directory):
            disk.make_directory(directory)
            found = sorted(directory.glob(f"{_WORK}*"))
            number = int(found[-1].name.removeprefix(_WORK)) + 1 if found else 1
            work = directory / f"{_WORK}{number:06d}"
            if found and _holds(found[-1], manifest):
                disk.rename(found[-1], work)
                disk.sync_directory(directory)
            else:
                _start(disk, work, manifest)
            for stale in found:
                disk.remove_tree(stale)
            return cls(work, pages.load_records(work), disk=disk)

    @property
    def records(self) -> Sequence[PageRecord]:
        """The checkpoints of every durable page, in order."""
        return tuple(self._records)

    @property
    def complete(self) -> bool:
        """Whether the last page has come."""
        return bool(self._records) and self._records[-1].next_token is None

    @property
    def resume_point(self) -> ResumePoint | None:
        """Where to go on; None when nothing is here yet, or everything is."""
        if not self._records:
            return None
        last = self._records[-1]
        return None if last.next_token is None else ResumePoint(last.page, last.next_token)

    def write_page(
        self, rows: Iterable[Row], *, next_token: str | None, raw_hash: str = "", raw_bytes: int = 0
    ) -> PageRecord:
        """Make a page durable, and with it the token of the next.

        Raises:
            ProviderProtocolError: a row can't be written as JSON.
            SpoolError: the disk refuses; nothing of the page counts.
            SupersededError: a newer attempt has taken this spool over.
        """
        lines = [canonical.encode_row(row) for row in rows]
        return self.write_lines(
            lines, next_token=next_token, raw_hash=raw_hash, raw_bytes=raw_bytes
        )

    def write_lines(
        self,
        lines: list[bytes],
        *,
        next_token: str | None,
        raw_hash: str = "",
        raw_bytes: int = 0,
        pages_held: int = 1,
        marks: Sequence[str] = (),
    ) -> PageRecord:
        """As `write_page`, for rows in their written form and of one page or several."""
        if self.complete:
            raise SpoolError("The last page has come; no other can follow it")
        with self._guarded():
            record = pages.save_page(
                self._disk,
                self._work,
                page=len(self._records) + 1,
                lines=lines,
                next_token=next_token,
                raw_hash=raw_hash,
                raw_bytes=raw_bytes,
                pages=pages_held,
                marks=marks,
            )
        self._records.append(record)
        return record

    def seal(
        self,
        day_of: Callable[[Row], date],
        days: Sequence[date],
        *,
        money_of: Callable[[Row], Money | None] | None = None,
        unique_by: Sequence[str] = (),
    ) -> dict[date, DayFile]:
        """Deal the rows into one file per asked day; an empty day has a file too.

        The same pages give the same bytes. Rows come back from disk as JSON: amounts and days are
        strings there.

        Args:
            day_of: the day a row belongs to.
            days: every day that was asked for; a row of another day is an error.
            money_of: what a row adds to its day's totals.
            unique_by: fields that together name a row; naming one twice is an error.

        Raises:
            ProviderProtocolError: a row of a day not asked for, or one that came twice; the pages
                are discarded.
            SpoolError: the extraction is not complete, or the disk refuses.
            SupersededError: a newer attempt has taken this spool over.
        """
        if not self.complete:
            raise SpoolError("The pages are not complete; nothing can be sealed")
        sealer = DayFileWriter(
            self._work, days=days, disk=self._disk, money_of=money_of, unique_by=unique_by
        )
        try:
            with self._guarded():
                sealer.begin()
                for record in self._records:
                    sealer.add_page(pages.read_lines(self._work, record), day_of=day_of)
                return sealer.finish()
        except ProviderProtocolError:
            self.discard()
            raise

    def discard(self) -> None:
        """Remove the pages and sealed days: they are published, or not to be trusted."""
        self._disk.remove_tree(self._work)
        self._records.clear()

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        with _named_errors(self._work):
            try:
                yield
            except FileNotFoundError:
                if self._work.exists():
                    raise
                raise SupersededError("A newer attempt has taken the spool over") from None


def fingerprint_of(*parts: object) -> str:
    """A digest of whatever decides an extraction's content: origin, requests, code version.

    Parts are written as JSON; never put a credential among them.
    """
    return sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def day_from_field(field: str) -> Callable[[Row], date]:
    """A `day_of` for `seal`: the ISO day in one field of the row."""
    return lambda row: date.fromisoformat(row[field])


def _holds(work: Path, manifest: bytes) -> bool:
    try:
        return (work / _MANIFEST).read_bytes() == manifest
    except OSError:
        return False


def _start(disk: Disk, work: Path, manifest: bytes) -> None:
    """A new work directory, which has its manifest from the moment it has its name."""
    fresh = work.with_name(f"new-{work.name}")
    disk.remove_tree(fresh)
    disk.make_directory(fresh)
    write_durably(disk, fresh / _MANIFEST, [manifest])
    disk.rename(fresh, work)
    disk.sync_directory(work.parent)


@contextmanager
def _named_errors(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SpoolError(
            "The spool's disk refuses", directory=directory.name, fault=error.strerror
        ) from None
