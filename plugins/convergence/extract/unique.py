"""Whether any row came twice, by sorted runs on disk: memory stays flat however many rows."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from convergence.errors import ProviderProtocolError
from convergence.extract.disk import Disk

_DIGEST_BYTES = 32
_RUN = 50_000
_READ = 512 * _DIGEST_BYTES


class UniqueRows:
    """Collects the digests of rows' identities and tells whether one is there twice."""

    def __init__(self, directory: Path, *, disk: Disk, run: int = _RUN) -> None:
        self._directory = directory
        self._disk = disk
        self._run = run
        self._held: list[bytes] = []
        self._runs: list[Path] = []

    def add(self, digest: bytes) -> None:
        """Note a digest of 32 bytes."""
        self._held.append(digest)
        if len(self._held) >= self._run:
            self._spill()

    def check(self) -> None:
        """Raises ProviderProtocolError if a digest was noted twice."""
        self._held.sort()
        runs = [iter(self._held), *(_read(path) for path in self._runs)]
        if any(first == second for first, second in pairwise(heapq.merge(*runs))):
            raise ProviderProtocolError("A row came twice")

    def _spill(self) -> None:
        path = self._directory / f"identities-{len(self._runs):05d}"
        self._held.sort()
        descriptor = self._disk.create(path)
        try:
            self._disk.write(descriptor, b"".join(self._held))
        finally:
            self._disk.close(descriptor)
        self._runs.append(path)
        self._held.clear()


def _read(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(_READ):
            for start in range(0, len(block), _DIGEST_BYTES):
                yield block[start : start + _DIGEST_BYTES]
