"""Remember what was wrong with the configuration files until a file changes.

Airflow's DAG processor checks all files every few seconds, each time in a new process, so the
result is kept in a file. It depends on the files, on the code that checks them, and on the
versions of Python and pydantic.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeAlias

import pydantic

from convergence.file_versions import FileVersions, newest_change
from convergence.pipelines.files.violations import Violation

Result: TypeAlias = tuple[Violation, ...]

# A file that changes twice within one tick of the file system's clock looks unchanged.
_SETTLED_NS = 2_000_000_000


class CheckCache:
    """The result of the last check, in a file."""

    def __init__(self, path: Path, *, now_ns: Callable[[], int]) -> None:
        """Prepare a cache.

        Args:
            path: where the result is kept; its folder is made.
            now_ns: the time, in nanoseconds since 1970.
        """
        self._path = path
        self._now_ns = now_ns

    def get(self, versions: FileVersions, check: Callable[[], Result]) -> Result:
        """Return the kept result if it was made from the same files, else check and keep.

        Args:
            versions: of every file that the result depends on, read before the check.
            check: makes the result.
        """
        key, settled = _key(versions), self._now_ns() - _SETTLED_NS
        kept = self._read(key)
        if kept is not None:
            return kept
        result = check()
        if newest_change(versions) < settled:
            self._write(key, result)
        return result

    def _read(self, key: str) -> Result | None:
        # A cache that can't be read is none: it may be half of a disk's last write.
        with suppress(OSError, ValueError, TypeError, KeyError):
            document = json.loads(self._path.read_text(encoding="utf-8"))
            if document["key"] == key:
                return tuple(_restored(one) for one in document["result"])
        return None

    def _write(self, key: str, result: Result) -> None:
        document = {"key": key, "result": [asdict(one) for one in result]}
        written = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        # Without a place to write, each check runs again.
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            written.write_text(json.dumps(document), encoding="utf-8")
            written.replace(self._path)


def _key(versions: FileVersions) -> str:
    inputs = [sys.version, pydantic.VERSION, sorted(versions.items())]
    return hashlib.sha256(json.dumps(inputs).encode()).hexdigest()


def _restored(values: dict[str, Any]) -> Violation:
    excerpt = tuple((int(number), str(text)) for number, text in values["excerpt"])
    return Violation(**{**values, "accepted": tuple(values["accepted"]), "excerpt": excerpt})
