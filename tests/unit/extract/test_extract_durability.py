"""What was acknowledged survives a power cut: bytes and names that nobody synced do not."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from convergence.extract.spool import Spool, day_from_field
from convergence.extract.storage.disk import Disk, write_durably

DAY = date(2026, 11, 20)


class PowerCutDisk(Disk):
    """Notes each call, and can forget what was not synced, in the worst way that is allowed."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self._root = root
        self._durable = {path.stat().st_ino for path in root.rglob("*")}
        self.calls: list[tuple[str, str]] = []
        self._open: dict[int, Path] = {}
        self._unsynced_names: list[tuple[Path, Callable[[], None]]] = []

    def create(self, path: Path) -> int:
        descriptor = super().create(path)
        self.calls.append(("create", path.name))
        self._open[descriptor] = path
        self._durable.discard(os.fstat(descriptor).st_ino)
        self._unsynced_names.append((path.parent, lambda: path.unlink(missing_ok=True)))
        return descriptor

    def write(self, descriptor: int, data: bytes) -> None:
        super().write(descriptor, data)
        self.calls.append(("write", self._open[descriptor].name))

    def sync(self, descriptor: int) -> None:
        super().sync(descriptor)
        self.calls.append(("sync", self._open[descriptor].name))
        self._durable.add(os.fstat(descriptor).st_ino)

    def close(self, descriptor: int) -> None:
        super().close(descriptor)
        self.calls.append(("close", self._open.pop(descriptor).name))

    def rename(self, source: Path, target: Path) -> None:
        before = target.read_bytes() if target.is_file() else None
        super().rename(source, target)
        self.calls.append(("rename", target.name))

        def undo() -> None:
            if target.exists():
                target.rename(source)
            if before is not None:
                target.write_bytes(before)

        self._unsynced_names.append((target.parent, undo))

    def sync_directory(self, path: Path) -> None:
        super().sync_directory(path)
        self.calls.append(("sync_directory", path.name))
        self._unsynced_names = [each for each in self._unsynced_names if each[0] != path]

    def cut(self) -> None:
        """Lose every name and every byte that was not synced, from any writer."""
        for _directory, undo in reversed(self._unsynced_names):
            undo()
        for path in self._root.rglob("*"):
            if path.is_file() and path.stat().st_ino not in self._durable:
                path.write_bytes(b"")


def test_a_file_is_synced_before_it_has_its_name_and_its_name_before_it_counts(
    tmp_path: Path,
) -> None:
    disk = PowerCutDisk(tmp_path)
    write_durably(disk, tmp_path / "page", [b"one", b"two"])
    assert disk.calls == [
        ("create", "page.new"),
        ("write", "page.new"),
        ("write", "page.new"),
        ("sync", "page.new"),
        ("close", "page.new"),
        ("rename", "page"),
        ("sync_directory", tmp_path.name),
    ]


@pytest.mark.parametrize("pages", [1, 2, 5])
def test_every_acknowledged_page_survives_a_power_cut(tmp_path: Path, pages: int) -> None:
    disk = PowerCutDisk(tmp_path)
    spool = Spool.open(tmp_path, fingerprint="f", disk=disk)
    for number in range(pages):
        spool.write_page([{"usage_date": DAY, "n": number}], next_token=str(number + 1))
    disk.cut()
    point = Spool.open(tmp_path, fingerprint="f").resume_point
    assert point is not None
    assert (point.page, point.token) == (pages, str(pages))


def test_pages_survive_a_power_cut_after_a_later_attempt_took_them_over(tmp_path: Path) -> None:
    Spool.open(tmp_path, fingerprint="f").write_page([{"usage_date": DAY}], next_token="2")
    disk = PowerCutDisk(tmp_path)
    later = Spool.open(tmp_path, fingerprint="f", disk=disk)
    later.write_page([{"usage_date": DAY}], next_token="3")
    disk.cut()
    point = Spool.open(tmp_path, fingerprint="f").resume_point
    assert point is not None
    assert point.page == 2


def test_a_sealed_day_survives_a_power_cut(tmp_path: Path) -> None:
    disk = PowerCutDisk(tmp_path)
    spool = Spool.open(tmp_path, fingerprint="f", disk=disk)
    spool.write_page([{"usage_date": DAY, "n": 1}], next_token=None)
    sealed = spool.write_day_files(day_from_field("usage_date"), [DAY])[DAY]
    whole = sealed.path.read_bytes()
    disk.cut()
    assert sealed.path.read_bytes() == whole


def test_syncing_reaches_the_operating_system(tmp_path: Path) -> None:
    synced: list[int] = []
    disk = Disk(fsync=synced.append)
    disk.sync(7)
    disk.sync_directory(tmp_path)
    assert len(synced) == 2
    # A closed descriptor: only a real call to the system notices.
    descriptor = Disk().create(tmp_path / "file")
    os.close(descriptor)
    with pytest.raises(OSError, match="Bad file descriptor"):
        Disk().sync(descriptor)
