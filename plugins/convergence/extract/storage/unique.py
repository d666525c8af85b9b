"""Detect repeated rows with sorted runs on disk, in constant memory."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from convergence.errors import ProviderProtocolError
from convergence.extract.storage.disk import Disk

_DIGEST_BYTES = 32
_RUN_DIGESTS = 50_000
_READ_BYTES = 512 * _DIGEST_BYTES


class UniqueRows:
    """Collect the digests of the rows' identities, and detect repeated ones."""

    def __init__(self, directory: Path, *, disk: Disk, run: int = _RUN_DIGESTS) -> None:
        self._directory = directory
        self._disk = disk
        self._run = run
        self._buffer: list[bytes] = []
        self._runs: list[Path] = []

    def add(self, digest: bytes) -> None:
        """Add a digest of 32 bytes."""
        self._buffer.append(digest)
        if len(self._buffer) >= self._run:
            self._spill_run()

    def check_unique(self) -> None:
        """Raise ProviderProtocolError if a digest was added twice."""
        self._buffer.sort()
        runs = [iter(self._buffer), *(_read_digests(path) for path in self._runs)]
        if any(first == second for first, second in pairwise(heapq.merge(*runs))):
            raise ProviderProtocolError("The provider sent a row twice")

    def _spill_run(self) -> None:
        path = self._directory / f"identities-{len(self._runs):05d}"
        self._buffer.sort()
        descriptor = self._disk.create(path)
        try:
            self._disk.write(descriptor, b"".join(self._buffer))
        finally:
            self._disk.close(descriptor)
        self._runs.append(path)
        self._buffer.clear()


def _read_digests(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(_READ_BYTES):
            for start in range(0, len(block), _DIGEST_BYTES):
                yield block[start : start + _DIGEST_BYTES]
