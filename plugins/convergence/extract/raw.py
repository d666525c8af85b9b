"""Answers of a provider kept as they came, for as long as the configuration says."""

from __future__ import annotations

import gzip
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from convergence.errors import SpoolError
from convergence.extract.disk import Disk, write_durably

_LEVEL = 6


@dataclass(frozen=True, slots=True)
class RawPages:
    """A folder of answers, byte by byte what the provider sent, packed; for their owner only.

    Attributes:
        folder: of one extraction, made when the first page comes.
        disk: in place of the operating system's, for tests.
    """

    folder: Path
    disk: Disk = field(default_factory=Disk)

    def keep(self, body: bytes, *, page: int) -> None:
        """Keep the answer of a page; the last of one page counts.

        Raises:
            SpoolError: the disk refuses; who wants the answers kept wants no run without them.
        """
        path = self.folder / f"page-{page:06d}.gz"
        try:
            self.disk.make_directory(self.folder)
            write_durably(self.disk, path, [gzip.compress(body, _LEVEL, mtime=0)])
        except OSError as error:
            raise SpoolError(
                "The provider's answer can't be kept", page=page, fault=error.strerror
            ) from None


def prune_folders(folders: Path, *, since: datetime, disk: Disk | None = None) -> int:
    """Remove each folder in a folder whose newest file is older; how many went.

    Args:
        folders: holds one folder per extraction; it may be missing.
        since: aware.
        disk: in place of the operating system's, for tests.
    """
    disk = disk or Disk()
    old = [one for one in folders.glob("*") if _newest(one) < since.timestamp()]
    for folder in old:
        disk.remove_tree(folder)
    return len(old)


def _newest(folder: Path) -> float:
    return max((path.stat().st_mtime for path in (folder, *folder.rglob("*"))), default=0.0)
