"""Detect whether files have changed since the last look, without reading them."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

FileVersions: TypeAlias = dict[str, tuple[int, int, int, int]]
"""Path → modification time, change time (nanoseconds), size, inode."""


def file_versions(root: Path, *, suffix: str = "") -> FileVersions:
    """Return the version of each file below a folder whose name ends with `suffix`.

    The change time can't be set by a program, so a file that is replaced by one with an older
    modification time is seen too.
    """
    found: FileVersions = {}
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name != "__pycache__"]
        for name in files:
            if name.endswith(suffix):
                path = f"{folder}{os.sep}{name}"
                with suppress(FileNotFoundError):
                    status = os.stat(path)  # noqa: PTH116  # called before each fork: no Path
                    times = (status.st_mtime_ns, status.st_ctime_ns)
                    found[path] = (*times, status.st_size, status.st_ino)
    return found


def changed_files(before: FileVersions, now: FileVersions) -> list[str]:
    """Return the paths of files that were changed, added or removed, sorted."""
    return sorted(path for path in before.keys() | now.keys() if before.get(path) != now.get(path))


def newest_change(versions: FileVersions) -> int:
    """Return when the last of the files changed, in nanoseconds since 1970; 0 without files."""
    return max((max(version[:2]) for version in versions.values()), default=0)
