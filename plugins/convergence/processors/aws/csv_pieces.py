"""Read a gzip-compressed CSV file in pieces of whole records.

Polars would unpack such a file whole. A record may hold line breaks within quotes, so a piece ends
at the last line break outside of them (RFC 4180: quotes come in pairs).
"""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from convergence.errors import ProviderProtocolError

PIECE_BYTES: Final = 16 * 1024 * 1024
LONGEST_RECORD: Final = 4 * PIECE_BYTES
_BOM: Final = b"\xef\xbb\xbf"


def pieces(
    path: Path, *, file: str, max_bytes: int, piece_bytes: int = PIECE_BYTES
) -> Iterator[bytes]:
    """Yield the column names, one per line, and then pieces of whole records.

    Args:
        path: the file.
        file: what errors call it.
        max_bytes: most bytes that it may unpack to.
        piece_bytes: about how long a piece is.

    Raises:
        ProviderProtocolError: it is truncated, no gzip, too large, or has no header.
    """
    unpacked = _unpacked(path, file=file, max_bytes=max_bytes, step=piece_bytes)
    buffer = next(unpacked, b"").removeprefix(_BOM)
    while (end := record_end(buffer)) == 0:
        more = next(unpacked, b"")
        if not more:
            break
        buffer = _joined(buffer, more, file)
    first = buffer.find(b"\n") + 1 or len(buffer)
    yield _names(buffer[:first], file)
    buffer = buffer[first:]
    for more in unpacked:
        end = record_end(buffer)
        if end:
            yield buffer[:end]
        buffer = _joined(buffer[end:], more, file)
    if buffer.strip():
        yield buffer


def record_end(text: bytes) -> int:
    """Return the offset of the end of the last whole record; 0 without one."""
    end = text.rfind(b"\n") + 1
    quotes = text.count(b'"', 0, end)
    while end and quotes % 2:
        before = text.rfind(b"\n", 0, end - 1) + 1
        quotes -= text.count(b'"', before, end)
        end = before
    return end


def _joined(buffer: bytes, more: bytes, file: str) -> bytes:
    if len(buffer) > LONGEST_RECORD:
        raise ProviderProtocolError("A record of the file has no end", file=file)
    return buffer + more


def _names(line: bytes, file: str) -> bytes:
    try:
        names = next(csv.reader([line.decode().strip("\r\n")]), [])
    except (UnicodeDecodeError, csv.Error):
        names = []
    if not any(names):
        raise ProviderProtocolError("The file has no header", file=file)
    return "\n".join(names).encode()


def _unpacked(path: Path, *, file: str, max_bytes: int, step: int) -> Iterator[bytes]:
    read = 0
    try:
        with gzip.open(path, "rb") as unpacked:
            while block := unpacked.read(step):
                read += len(block)
                if read > max_bytes:
                    raise ProviderProtocolError(
                        "The file unpacks to more than is allowed", file=file, limit=max_bytes
                    )
                yield block
    except EOFError:
        raise ProviderProtocolError("The gzip file is truncated", file=file) from None
    except (gzip.BadGzipFile, zlib.error):
        raise ProviderProtocolError("The gzip file is damaged", file=file) from None
