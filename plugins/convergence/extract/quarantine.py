"""An answer that broke its shape, kept aside as it came, for whoever looks into it."""

from __future__ import annotations

import gzip
from dataclasses import dataclass, field
from pathlib import Path

from convergence.extract.disk import Disk, write_durably
from convergence.security.redaction import redact


@dataclass(frozen=True, slots=True)
class Quarantine:
    """A folder of answers, made when the first comes; what is kept is masked like a log line.

    Attributes:
        folder: of this extraction.
        name: what errors call it: the folder without the place where this machine has it.
    """

    folder: Path
    name: str
    disk: Disk = field(default_factory=Disk)

    def keep(self, body: bytes, *, page: int) -> str:
        """Keep the answer of a page, and say where; the last of one page counts.

        Raises:
            OSError: the disk refuses.
        """
        file = f"page-{page:06d}.txt.gz"
        self.disk.make_directory(self.folder)
        masked = redact(body.decode(errors="backslashreplace")).encode()
        write_durably(self.disk, self.folder / file, [gzip.compress(masked, 1, mtime=0)])
        return f"{self.name}/{file}"
