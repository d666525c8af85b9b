"""Keep responses of an unexpected shape, for the person who investigates them."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from convergence.extract.storage.disk import Disk, write_durably
from convergence.security.redaction import redact


@dataclass(frozen=True, slots=True)
class Quarantine:
    """A folder of responses; it is created for the first one, and secrets are masked as in logs.

    Attributes:
        folder: the folder of this extraction.
        name: the name of the folder in error messages, without the path of this machine.
    """

    folder: Path
    name: str
    disk: Disk = field(default_factory=Disk)

    def keep_response(self, body: bytes, *, page: int, secrets: Sequence[str] = ()) -> str:
        """Keep the response of a page and return its name; a later one of the page replaces it.

        Args:
            body: the response.
            page: number of the page, from 1.
            secrets: credentials of the request, which are masked whatever their form.

        Raises:
            OSError: the disk rejects the write.
        """
        file = f"page-{page:06d}.txt.gz"
        self.disk.make_directory(self.folder)
        text = body.decode(errors="backslashreplace")
        for secret in sorted(secrets, key=len, reverse=True):
            text = text.replace(secret, "***")
        masked = redact(text).encode()
        write_durably(self.disk, self.folder / file, [gzip.compress(masked, 1, mtime=0)])
        return f"{self.name}/{file}"
