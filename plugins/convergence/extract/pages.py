"""A durable page, or several small ones: checkpoint and rows in one file that no crash parts."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

from convergence.extract.disk import Disk, write_durably

SUFFIX = ".page"
_LEVEL = 1


@dataclass(frozen=True, slots=True)
class PageRecord:
    """The checkpoint: what a later attempt must know to go on after this page.

    Attributes:
        page: of the file, from 1.
        next_token: where to go on; None when the last page has come.
        rows: how many.
        rows_hash: of the written rows in order, before packing.
        raw_hash: of the provider's answer.
        raw_bytes: size of that answer.
        packed_bytes: size of the packed rows that follow.
        packed_hash: of the packed rows that follow.
        pages: of the provider, whose rows these are.
        marks: by which the provider's pages are known again (see `guard`).
    """

    page: int
    next_token: str | None
    rows: int
    rows_hash: str
    raw_hash: str
    raw_bytes: int
    packed_bytes: int
    packed_hash: str
    pages: int = 1
    marks: tuple[str, ...] = ()


def save_page(
    disk: Disk,
    directory: Path,
    *,
    page: int,
    lines: list[bytes],
    next_token: str | None,
    raw_hash: str,
    raw_bytes: int,
    pages: int = 1,
    marks: Sequence[str] = (),
) -> PageRecord:
    """Put a page on disk; it is durable, with its checkpoint, when this returns."""
    text = b"".join(part for line in lines for part in (line, b"\n"))
    packed = zlib.compress(text, _LEVEL)
    record = PageRecord(
        page=page,
        next_token=next_token,
        rows=len(lines),
        rows_hash=sha256(text).hexdigest(),
        raw_hash=raw_hash,
        raw_bytes=raw_bytes,
        packed_bytes=len(packed),
        packed_hash=sha256(packed).hexdigest(),
        pages=pages,
        marks=tuple(marks),
    )
    head = json.dumps(asdict(record)).encode() + b"\n"
    write_durably(disk, _path(directory, page), [head, packed])
    return record


def load_records(directory: Path) -> list[PageRecord]:
    """The checkpoints of the pages that are whole, up to the first that is missing or damaged."""
    records: list[PageRecord] = []
    while True:
        path = _path(directory, len(records) + 1)
        try:
            head, packed = _split(path)
            told = json.loads(head)
            record = PageRecord(**{**told, "marks": tuple(told["marks"])})
        except (OSError, ValueError, TypeError, KeyError):
            return records
        if record.page != len(records) + 1 or record.packed_hash != sha256(packed).hexdigest():
            return records
        records.append(record)


def read_lines(directory: Path, record: PageRecord) -> Iterator[bytes]:
    """The rows of a page as written, without newlines."""
    _, packed = _split(_path(directory, record.page))
    yield from zlib.decompress(packed).splitlines()


def _split(path: Path) -> tuple[bytes, bytes]:
    head, _, packed = path.read_bytes().partition(b"\n")
    return head, packed


def _path(directory: Path, page: int) -> Path:
    return directory / f"{page:06d}{SUFFIX}"
