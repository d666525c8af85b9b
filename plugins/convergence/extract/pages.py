"""Save pages durably: checkpoint and rows are in one file, so a crash can't separate them."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

from convergence.extract.storage.disk import Disk, write_durably

SUFFIX = ".page"
_LEVEL = 1


@dataclass(frozen=True, slots=True)
class PageRecord:
    """The checkpoint from which a later attempt continues after this page.

    Attributes:
        page: number of the file, from 1.
        next_token: token of the next page; None after the last page.
        rows: number of rows.
        rows_hash: hash of the encoded rows in order, before packing.
        raw_hash: hash of the provider's response.
        raw_bytes: size of that response.
        packed_bytes: size of the packed rows that follow.
        packed_hash: hash of the packed rows that follow.
        pages: number of the provider's pages in the file.
        marks: identify the provider's pages, to detect repetitions (see `guard`).
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
    """Save a page; it is durable, with its checkpoint, when this returns."""
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
    write_durably(disk, _page_path(directory, page), [head, packed])
    return record


def load_records(directory: Path) -> list[PageRecord]:
    """Return the checkpoints of complete pages, up to the first missing or damaged one."""
    records: list[PageRecord] = []
    while True:
        path = _page_path(directory, len(records) + 1)
        try:
            head, packed = _read_page_file(path)
            fields = json.loads(head)
            record = PageRecord(**{**fields, "marks": tuple(fields["marks"])})
        except (OSError, ValueError, TypeError, KeyError):
            return records
        if record.page != len(records) + 1 or record.packed_hash != sha256(packed).hexdigest():
            return records
        records.append(record)


def read_lines(directory: Path, record: PageRecord) -> Iterator[bytes]:
    """Yield the encoded rows of a page, without newlines."""
    _, packed = _read_page_file(_page_path(directory, record.page))
    yield from zlib.decompress(packed).splitlines()


def _read_page_file(path: Path) -> tuple[bytes, bytes]:
    head, _, packed = path.read_bytes().partition(b"\n")
    return head, packed


def _page_path(directory: Path, page: int) -> Path:
    return directory / f"{page:06d}{SUFFIX}"
