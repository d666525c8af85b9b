"""Cache the violations of the configuration files until a file changes.

Airflow's DAG processor checks all files every few seconds, each time in a new process, so the
result is cached in a file. The cache key covers the configuration files, the code that checks
them, and the versions of Python and pydantic.
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
    """A file with the result of the last check."""

    def __init__(self, path: Path, *, now_ns: Callable[[], int]) -> None:
        """Prepare a cache.

        Args:
            path: the file of the result; its folder is created.
            now_ns: returns the time in nanoseconds since 1970.
        """
        self._path = path
        self._now_ns = now_ns

    def get(self, versions: FileVersions, check: Callable[[], Result]) -> Result:
        """Return the cached result if it was made from the same files, else check and cache.

        Args:
            versions: of every file that the result depends on, read before the check.
            check: computes the result.
        """
        key, settled = _build_key(versions), self._now_ns() - _SETTLED_NS
        cached = self._read_result(key)
        if cached is not None:
            return cached
        result = check()
        if newest_change(versions) < settled:
            self._write_result(key, result)
        return result

    def _read_result(self, key: str) -> Result | None:
        # An unreadable cache counts as empty: a crash may have left half of a write.
        with suppress(OSError, ValueError, TypeError, KeyError):
            document = json.loads(self._path.read_text(encoding="utf-8"))
            if document["key"] == key:
                return tuple(_parse_violation(one) for one in document["result"])
        return None

    def _write_result(self, key: str, result: Result) -> None:
        document = {"key": key, "result": [asdict(one) for one in result]}
        temporary = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        # A disk that rejects the write costs time only: each check then runs again.
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps(document), encoding="utf-8")
            temporary.replace(self._path)


def _build_key(versions: FileVersions) -> str:
    inputs = [sys.version, pydantic.VERSION, sorted(versions.items())]
    return hashlib.sha256(json.dumps(inputs).encode()).hexdigest()


def _parse_violation(values: dict[str, Any]) -> Violation:
    excerpt = tuple((int(number), str(text)) for number, text in values["excerpt"])
    return Violation(**{**values, "accepted": tuple(values["accepted"]), "excerpt": excerpt})
