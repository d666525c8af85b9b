"""The file system operations of the spool, in one class that tests replace to make them fail."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

DIRECTORY_MODE = 0o700
FILE_MODE = 0o600


class Disk:
    """Plain calls of the operating system; a test replaces it by one that fails."""

    def __init__(self, *, fsync: Callable[[int], None] = os.fsync) -> None:
        self._fsync = fsync

    def create(self, path: Path) -> int:
        """Open a new or emptied file for writing; return its descriptor."""
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, FILE_MODE)

    def write(self, descriptor: int, data: bytes) -> None:
        """Write all of `data`."""
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]

    def sync(self, descriptor: int) -> None:
        """Flush the content of a file to the disk."""
        self._fsync(descriptor)

    def close(self, descriptor: int) -> None:
        """Close a descriptor."""
        os.close(descriptor)

    def rename(self, source: Path, target: Path) -> None:
        """Rename atomically and replace an existing target."""
        source.rename(target)

    def sync_directory(self, path: Path) -> None:
        """Flush the names of a directory to the disk."""
        descriptor = os.open(path, os.O_RDONLY)
        try:
            self._fsync(descriptor)
        finally:
            os.close(descriptor)

    def make_directory(self, path: Path) -> None:
        """Create a directory and its parents, readable by the owner only."""
        path.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)

    def remove_tree(self, path: Path) -> None:
        """Remove a directory with its content, if it exists."""
        shutil.rmtree(path, ignore_errors=True)


def write_durably(disk: Disk, path: Path, parts: Iterable[bytes]) -> None:
    """Write a file completely or not at all: temporary file, fsync, rename."""
    fresh = path.with_name(f"{path.name}.new")
    descriptor = disk.create(fresh)
    try:
        for part in parts:
            disk.write(descriptor, part)
        disk.sync(descriptor)
    finally:
        disk.close(descriptor)
    disk.rename(fresh, path)
    disk.sync_directory(path.parent)
