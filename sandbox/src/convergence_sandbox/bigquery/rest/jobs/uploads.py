"""Media upload of load jobs: multipart/related in one request, or resumable in many.

The protocol is the one all Google APIs share; Cloud Storage documents it best:
https://cloud.google.com/storage/docs/performing-resumable-uploads. A session lives in two files,
so an upload goes on after the server was killed.
"""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from convergence_sandbox.bigquery.errors import invalid, not_found
from convergence_sandbox.bigquery.rest.wire import Json, parse_object, too_large

MAX_MULTIPART_BYTES = 256 * 1024 * 1024
MAX_UPLOAD_BYTES = 4 * 1024**3

_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)")
_BOUNDARY = re.compile(r'boundary=(?:"([^"]+)"|([^;\s]+))', re.IGNORECASE)
_SESSION = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Chunk:
    """What a `Content-Range` header says: where the body belongs, and the whole's size."""

    start: int | None
    end: int | None
    total: int | None

    @classmethod
    def parse(cls, header: str) -> Chunk:
        """`bytes 0-99/*`, `bytes 100-149/150`, or `bytes */*` to query the progress.

        Raises:
            BigQueryError: 400 when it is none of these.
        """
        match = _RANGE.fullmatch(header.strip())
        if match is None:
            raise invalid(f"Invalid Content-Range header: {header!r}.")
        start, end, total = match.groups()
        return cls(
            start=None if start is None else int(start),
            end=None if end is None else int(end),
            total=None if total == "*" else int(total),
        )

    @property
    def final(self) -> bool:
        """Return whether the upload is whole once this chunk is in place."""
        if self.total is None:
            return False
        return self.total == 0 if self.end is None else self.end + 1 == self.total


def split_multipart(content_type: str, body: bytes) -> tuple[Json, bytes]:
    """Return the job resource and the media of a `multipart/related` body.

    Raises:
        BigQueryError: 400 when it has no boundary or not exactly these two parts.
    """
    match = _BOUNDARY.search(content_type)
    if match is None:
        raise invalid("A multipart upload needs a boundary in its Content-Type.")
    delimiter = b"--" + (match[1] or match[2]).encode()
    head, *parts = (b"\r\n" + body).split(b"\r\n" + delimiter)
    if len(parts) != 3 or head.strip() or not parts[-1].startswith(b"--"):
        raise invalid("A multipart upload has exactly two parts: the job and its media.")
    metadata, media = (_read_part(part) for part in parts[:2])
    return parse_object(metadata), media


def _read_part(part: bytes) -> bytes:
    _, blank, payload = part.partition(b"\r\n\r\n")
    if not blank:
        raise invalid("A part of the multipart upload has no headers.")
    return payload


class Uploads:
    """Media on disk, in a folder of its own: `<id>.media` and, for a session, `<id>.json`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def sweep(self, *, older_than_s: float = 86_400.0) -> None:
        """Drop what uploads have left behind for a day."""
        limit = time.time() - older_than_s
        for path in self._folder.iterdir():
            if path.stat().st_mtime < limit:
                path.unlink()

    def keep(self, media: bytes) -> str:
        """Write a media that came whole; its name is what the job remembers."""
        name = secrets.token_hex(16)
        self.path(name).write_bytes(media)
        return name

    def open_session(self, *, project: str, job: Json) -> str:
        """Begin a resumable upload for this job resource."""
        name = secrets.token_hex(16)
        self.path(name).touch()
        self._session(name).write_text(json.dumps({"project": project, "job": job}, default=str))
        return name

    def session(self, name: str) -> tuple[str, Json]:
        """Return the project and job resource of a resumable upload.

        Raises:
            BigQueryError: 404 when there is no such session.
        """
        if not _SESSION.fullmatch(name) or not self._session(name).exists():
            raise not_found("Upload", name)
        document = json.loads(self._session(name).read_text())
        return document["project"], document["job"]

    def size(self, name: str) -> int:
        """Return how many bytes have arrived."""
        path = self.path(name)
        return path.stat().st_size if path.exists() else 0

    async def append(self, name: str, chunk: Chunk, body: AsyncIterator[bytes]) -> None:
        """Write a chunk at its place; one that was sent before simply lands there again.

        Raises:
            BigQueryError: 400 when bytes would be missing before it, or it is too large.
        """
        start = chunk.start or 0
        if start > self.size(name):
            raise invalid(f"The chunk begins at {start}, but {self.size(name)} bytes are here.")
        with self.path(name).open("r+b") as file:
            file.seek(start)
            async for piece in body:
                if file.tell() + len(piece) > MAX_UPLOAD_BYTES:
                    raise too_large()
                file.write(piece)

    def path(self, name: str) -> Path:
        """Return where a media lies."""
        return self._folder / f"{name}.media"

    def discard(self, name: str) -> None:
        """Drop a media whose job has ended."""
        self.path(name).unlink(missing_ok=True)

    def _session(self, name: str) -> Path:
        return self._folder / f"{name}.json"
