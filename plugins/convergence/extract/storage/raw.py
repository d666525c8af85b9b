"""Keep the raw responses of a provider for the configured number of days."""

from __future__ import annotations

import gzip
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from convergence.errors import SpoolError
from convergence.extract.storage.disk import Disk, write_durably

_LEVEL = 6


@dataclass(frozen=True, slots=True)
class RawPages:
    """A folder of packed responses, unchanged and readable by the owner only.

    Attributes:
        folder: the folder of one extraction, created for the first page.
        disk: replaces the operating system's in tests.
    """

    folder: Path
    disk: Disk = field(default_factory=Disk)

    def keep_response(self, body: bytes, *, page: int) -> None:
        """Keep the response of a page; a later one of the page replaces it.

        Raises:
            SpoolError: the disk rejects the write. A run that must keep responses fails then.
        """
        path = self.folder / f"page-{page:06d}.gz"
        try:
            self.disk.make_directory(self.folder)
            write_durably(self.disk, path, [gzip.compress(body, _LEVEL, mtime=0)])
        except OSError as error:
            raise SpoolError(
                "The provider's response can't be saved", page=page, cause=error.strerror
            ) from None


def prune_folders(folders: Path, *, since: datetime, disk: Disk | None = None) -> int:
    """Remove each subfolder whose newest file is older than `since`; return their number.

    Args:
        folders: the parent of the extractions' folders; it may be missing.
        since: aware.
        disk: replaces the operating system's in tests.
    """
    disk = disk or Disk()
    old = [one for one in folders.glob("*") if _newest_change(one) < since.timestamp()]
    for folder in old:
        disk.remove_tree(folder)
    return len(old)


def _newest_change(folder: Path) -> float:
    return max((path.stat().st_mtime for path in (folder, *folder.rglob("*"))), default=0.0)
