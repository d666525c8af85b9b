"""Keep the pages of an extraction on disk until all have arrived; continue there after a crash.

    {directory}/work-000003/manifest.json      identifies the extraction
                            000001.page …      page and checkpoint in one
                            sealed/{day}.ndjson.gz

Opening renames the work directory. If an earlier attempt is still running, its directory is gone
at its next write, and it ends with `SupersededError` instead of mixing its pages in.
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
from convergence.extract.pages import PageRecord
from convergence.extract.storage.day_files import DayFileWriter
from convergence.extract.storage.disk import Disk, write_durably
from convergence.extract.storage.figures import FigureSpec
from convergence.warehouse.day_file import DayFile, Money

VERSION = 2
_MANIFEST = "manifest.json"
_WORK = "work-"

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ResumePoint:
    """The last durable page and the token of the next one."""

    page: int
    token: str


class Spool:
    """The pages of one extraction. It has one writer: the newest caller of `open`."""

    def __init__(self, work: Path, records: list[PageRecord], *, disk: Disk) -> None:
        """Set the attributes; call `open` instead."""
        self._work = work
        self._records = records
        self._disk = disk

    @classmethod
    def open(cls, directory: Path, *, fingerprint: str, disk: Disk | None = None) -> Spool:
        """Take over the pages of an earlier attempt with the same fingerprint, or start empty.

        Args:
            directory: the directory of the slice; created if missing.
            fingerprint: of everything that decides the content (`fingerprint_of`). Another
                fingerprint, or another version of this layout, discards the pages.
            disk: replaces the operating system's in tests.

        Raises:
            SpoolError: the disk rejects an operation.
        """
        disk = disk or Disk()
        manifest = json.dumps({"version": VERSION, "fingerprint": fingerprint}).encode()
        with _translate_errors(directory):
            disk.make_directory(directory)
            found = sorted(directory.glob(f"{_WORK}*"))
            number = int(found[-1].name.removeprefix(_WORK)) + 1 if found else 1
            work = directory / f"{_WORK}{number:06d}"
            if found and _has_manifest(found[-1], manifest):
                disk.rename(found[-1], work)
                disk.sync_directory(directory)
            else:
                _start_work(disk, work, manifest)
            for stale in found:
                disk.remove_tree(stale)
            return cls(work, pages.load_records(work), disk=disk)

    @property
    def records(self) -> Sequence[PageRecord]:
        """Return the checkpoints of every durable page, in order."""
        return tuple(self._records)

    @property
    def complete(self) -> bool:
        """Return whether the last page has arrived."""
        return bool(self._records) and self._records[-1].next_token is None

    @property
    def resume_point(self) -> ResumePoint | None:
        """Return where to continue; None if the spool is empty or complete."""
        if not self._records:
            return None
        last = self._records[-1]
        return None if last.next_token is None else ResumePoint(last.page, last.next_token)

    def write_page(
        self, rows: Iterable[Row], *, next_token: str | None, raw_hash: str = "", raw_bytes: int = 0
    ) -> PageRecord:
        """Write a page durably, together with the token of the next page.

        Raises:
            ProviderProtocolError: a row can't be encoded as JSON.
            SpoolError: the disk rejects the write; nothing of the page is kept.
            SupersededError: a newer attempt has taken over this spool.
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
        provider_pages: int = 1,
        marks: Sequence[str] = (),
    ) -> PageRecord:
        """Write encoded rows of one or several pages; errors as `write_page`."""
        if self.complete:
            raise SpoolError("The spool is complete; no page can follow the last one")
        with self._check_ownership():
            record = pages.save_page(
                self._disk,
                self._work,
                page=len(self._records) + 1,
                lines=lines,
                next_token=next_token,
                raw_hash=raw_hash,
                raw_bytes=raw_bytes,
                pages=provider_pages,
                marks=marks,
            )
        self._records.append(record)
        return record

    def write_day_files(
        self,
        day_of: Callable[[Row], date],
        days: Sequence[date],
        *,
        money_of: Callable[[Row], Money | None] | None = None,
        unique_by: Sequence[str] = (),
        figures: FigureSpec | None = None,
    ) -> dict[date, DayFile]:
        """Write one file per requested day; an empty day has a file too.

        The same pages give the same bytes. Rows are read from disk as JSON: amounts and days are
        strings.

        Args:
            day_of: returns the day of a row.
            days: the requested days; a row of another day is an error.
            money_of: returns the amount that a row adds to the totals of its day.
            unique_by: fields that together identify a row; a repeated row is an error.
            figures: how rows are measured for the shrink guard; None for a table without guard.

        Raises:
            ProviderProtocolError: a row of a day that was not requested, or a repeated row; the
                pages are discarded.
            SpoolError: the extraction is not complete, or the disk rejects an operation.
            SupersededError: a newer attempt has taken over this spool.
        """
        if not self.complete:
            raise SpoolError("The extraction is not complete; no day file can be written")
        writer = DayFileWriter(
            self._work,
            days=days,
            disk=self._disk,
            money_of=money_of,
            unique_by=unique_by,
            figures=figures,
        )
        try:
            with self._check_ownership():
                writer.begin()
                for record in self._records:
                    writer.add_page(pages.read_lines(self._work, record), day_of=day_of)
                return writer.finish()
        except ProviderProtocolError:
            self.discard()
            raise

    def discard(self) -> None:
        """Remove the pages and day files: they are published, or not trustworthy."""
        self._disk.remove_tree(self._work)
        self._records.clear()

    @contextmanager
    def _check_ownership(self) -> Iterator[None]:
        with _translate_errors(self._work):
            try:
                yield
            except FileNotFoundError:
                if self._work.exists():
                    raise
                raise SupersededError("A newer attempt has taken over the spool") from None


def fingerprint_of(*parts: object) -> str:
    """Return a digest of everything that decides the content: origin, requests, code version.

    The parts are encoded as JSON and must not contain a credential.
    """
    return sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def day_from_field(field: str) -> Callable[[Row], date]:
    """Return a `day_of` for `write_day_files` that reads the ISO day in one field of the row."""
    return lambda row: date.fromisoformat(row[field])


def _has_manifest(work: Path, manifest: bytes) -> bool:
    try:
        return (work / _MANIFEST).read_bytes() == manifest
    except OSError:
        return False


def _start_work(disk: Disk, work: Path, manifest: bytes) -> None:
    """Create a work directory; it gets its name only after its manifest is durable."""
    fresh = work.with_name(f"new-{work.name}")
    disk.remove_tree(fresh)
    disk.make_directory(fresh)
    write_durably(disk, fresh / _MANIFEST, [manifest])
    disk.rename(fresh, work)
    disk.sync_directory(work.parent)


@contextmanager
def _translate_errors(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SpoolError(
            "The disk of the spool rejected an operation",
            directory=directory.name,
            cause=error.strerror,
        ) from None
