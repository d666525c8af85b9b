"""The spool: durable pages, resuming, sealing; and death at every single step on the disk."""

from __future__ import annotations

import gzip
import json
import os
import random
from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from convergence.errors import ProviderProtocolError, SpoolError, SupersededError
from convergence.extract.spool import Spool, day_from_field, fingerprint_of
from convergence.extract.storage.disk import Disk
from convergence.warehouse.day_file import DayFile, Money

FIRST = date(2026, 11, 17)
DAYS = [FIRST + timedelta(days=index) for index in range(3)]
T = TypeVar("T")
Page = list[dict[str, Any]]


class Killed(BaseException):
    """The process has died here."""


class DyingDisk(Disk):
    """Dies at call number `at`, before, after or in the middle of it.

    A file that was not synced by then keeps only a random beginning, as after a power cut.
    """

    def __init__(self, at: int, *, dice: random.Random) -> None:
        super().__init__()
        self.calls = 0
        self._at = at
        self._dice = dice
        self._open: dict[int, Path] = {}
        self._unsynced: set[Path] = set()

    def _step(self, act: Callable[[], T]) -> T:
        self.calls += 1
        if self.calls != self._at:
            return act()
        if self._dice.random() < 0.5:
            act()
        for path in self._unsynced:
            if path.exists():
                with path.open("r+b") as file:
                    file.truncate(self._dice.randint(0, path.stat().st_size))
        raise Killed

    def create(self, path: Path) -> int:
        def act() -> int:
            descriptor = Disk.create(self, path)
            self._open[descriptor] = path
            self._unsynced.add(path)
            return descriptor

        return self._step(act)

    def write(self, descriptor: int, data: bytes) -> None:
        self._step(lambda: Disk.write(self, descriptor, data))

    def sync(self, descriptor: int) -> None:
        def act() -> None:
            Disk.sync(self, descriptor)
            self._unsynced.discard(self._open[descriptor])

        self._step(act)

    def close(self, descriptor: int) -> None:
        os.close(descriptor)

    def rename(self, source: Path, target: Path) -> None:
        def act() -> None:
            Disk.rename(self, source, target)
            if source in self._unsynced:
                self._unsynced.add(target)

        self._step(act)

    def sync_directory(self, path: Path) -> None:
        self._step(lambda: Disk.sync_directory(self, path))

    def make_directory(self, path: Path) -> None:
        self._step(lambda: Disk.make_directory(self, path))

    def remove_tree(self, path: Path) -> None:
        self._step(lambda: Disk.remove_tree(self, path))


def make_pages(count: int = 4) -> list[Page]:
    return [
        [
            {"usage_date": DAYS[(page + row) % 2], "id": f"{page}/{row}", "tokens": page * 10 + row}
            for row in range(page % 3 + 1)
        ]
        for page in range(count)
    ]


def attempt(
    directory: Path, source: list[Page], *, disk: Disk | None = None
) -> dict[date, DayFile]:
    """What a worker does: open, go on, seal."""
    spool = Spool.open(directory, fingerprint="f", disk=disk)
    while not spool.complete:
        point = spool.resume_point
        number = int(point.token) if point else 0
        following = str(number + 1) if number + 1 < len(source) else None
        spool.write_page(source[number], next_token=following, raw_hash=str(number))
    return spool.write_day_files(day_from_field("usage_date"), DAYS, unique_by=["id"])


def contents(sealed: dict[date, DayFile]) -> dict[date, tuple[bytes, str, int, int]]:
    return {
        day: (found.path.read_bytes(), found.content_hash, found.row_count, found.source_pages)
        for day, found in sealed.items()
    }


def test_death_at_every_step_then_resuming_gives_the_same_bytes(tmp_path: Path) -> None:
    source = make_pages()
    counting = DyingDisk(at=0, dice=random.Random(0))
    whole = contents(attempt(tmp_path / "whole", source, disk=counting))
    assert counting.calls > 40
    for at in range(1, counting.calls + 1):
        directory = tmp_path / f"killed-{at}"
        with pytest.raises(Killed):
            attempt(directory, source, disk=DyingDisk(at=at, dice=random.Random(at)))
        assert contents(attempt(directory, source)) == whole, f"killed at call {at}"


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(kills=st.lists(st.integers(1, 60), max_size=5), seed=st.integers(0, 2**32))
def test_any_number_of_deaths_still_gives_the_same_bytes(
    tmp_path_factory: pytest.TempPathFactory, kills: list[int], seed: int
) -> None:
    base = tmp_path_factory.mktemp("spool")
    source = make_pages(5)
    dice = random.Random(seed)
    for at in kills:
        try:
            attempt(base / "killed", source, disk=DyingDisk(at=at, dice=dice))
        except Killed:
            continue
    assert contents(attempt(base / "killed", source)) == contents(attempt(base / "whole", source))


def test_resuming_asks_only_for_the_pages_that_are_missing(tmp_path: Path) -> None:
    spool = Spool.open(tmp_path, fingerprint="f")
    assert spool.resume_point is None
    spool.write_page([{"usage_date": FIRST}], next_token="second")
    point = Spool.open(tmp_path, fingerprint="f").resume_point
    assert point is not None
    assert (point.page, point.token) == (1, "second")


def test_another_fingerprint_starts_afresh(tmp_path: Path) -> None:
    Spool.open(tmp_path, fingerprint="f").write_page([{"usage_date": FIRST}], next_token="x")
    assert Spool.open(tmp_path, fingerprint="g").resume_point is None
    assert Spool.open(tmp_path, fingerprint="f").resume_point is None


def test_a_damaged_page_and_all_after_it_are_asked_for_again(tmp_path: Path) -> None:
    spool = Spool.open(tmp_path, fingerprint="f")
    for token in ("a", "b", "c"):
        spool.write_page([{"usage_date": FIRST, "t": token}], next_token=token)
    page = next(tmp_path.glob("work-*/000002.page"))
    page.write_bytes(page.read_bytes()[:-1] + b"\x00")
    point = Spool.open(tmp_path, fingerprint="f").resume_point
    assert point is not None
    assert point.page == 1


def test_an_attempt_that_was_overtaken_writes_nothing_more(tmp_path: Path) -> None:
    frozen = Spool.open(tmp_path, fingerprint="f")
    frozen.write_page([{"usage_date": FIRST}], next_token="a")
    newer = Spool.open(tmp_path, fingerprint="f")
    with pytest.raises(SupersededError):
        frozen.write_page([{"usage_date": FIRST, "stale": True}], next_token=None)
    newer.write_page([{"usage_date": FIRST, "stale": False}], next_token=None)
    sealed = newer.write_day_files(day_from_field("usage_date"), [FIRST])[FIRST]
    assert b"true" not in gzip.decompress(sealed.path.read_bytes())
    assert sealed.row_count == 2


def test_no_page_follows_the_last(tmp_path: Path) -> None:
    spool = Spool.open(tmp_path, fingerprint="f")
    spool.write_page([], next_token=None)
    with pytest.raises(SpoolError, match="is complete"):
        spool.write_page([], next_token=None)


def test_every_asked_day_is_there_also_when_empty(tmp_path: Path) -> None:
    sealed = attempt(tmp_path, make_pages())
    assert list(sealed) == DAYS
    empty = sealed[DAYS[2]]
    assert gzip.decompress(empty.path.read_bytes()) == b""
    assert (empty.row_count, empty.source_pages) == (0, 0)
    assert empty.content_hash == attempt(tmp_path / "b", [[]])[FIRST].content_hash


def test_a_day_that_was_not_asked_for_is_an_error_and_the_pages_go(tmp_path: Path) -> None:
    spool = Spool.open(tmp_path, fingerprint="f")
    spool.write_page([{"usage_date": date(2026, 11, 30)}], next_token=None)
    with pytest.raises(ProviderProtocolError, match="not requested"):
        spool.write_day_files(day_from_field("usage_date"), DAYS)
    assert Spool.open(tmp_path, fingerprint="f").resume_point is None


def test_nothing_is_sealed_before_the_last_page(tmp_path: Path) -> None:
    spool = Spool.open(tmp_path, fingerprint="f")
    spool.write_page([], next_token="more")
    with pytest.raises(SpoolError, match="not complete"):
        spool.write_day_files(day_from_field("usage_date"), DAYS)


rows = st.lists(
    st.fixed_dictionaries(
        {
            "usage_date": st.sampled_from(DAYS),
            "amount": st.decimals(allow_nan=False, allow_infinity=False, places=6),
            "note": st.text(max_size=12),
        }
    ),
    max_size=30,
)


@settings(max_examples=40)
@given(found=rows, seed=st.integers(0, 99), size=st.integers(1, 9))
def test_the_hash_ignores_order_and_paging_and_the_totals_are_exact(
    tmp_path_factory: pytest.TempPathFactory, found: Page, seed: int, size: int
) -> None:
    try:
        json.dumps(found, default=str, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return
    base = tmp_path_factory.mktemp("spool")
    shuffled = random.Random(seed).sample(found, len(found))

    def seal(name: str, pages: list[Page]) -> dict[date, DayFile]:
        spool = Spool.open(base / name, fingerprint="f")
        for index, page in enumerate(pages):
            last = index == len(pages) - 1
            spool.write_page(page, next_token=None if last else str(index))
        return spool.write_day_files(
            day_from_field("usage_date"),
            DAYS,
            money_of=lambda row: Money("USD", "billed", Decimal(row["amount"])),
        )

    one = seal("one", [found])
    many = seal("many", [shuffled[at : at + size] for at in range(0, len(found), size)] or [[]])
    for day in DAYS:
        of_day = [row["amount"] for row in found if row["usage_date"] == day]
        assert one[day].content_hash == many[day].content_hash
        assert one[day].row_count == many[day].row_count == len(of_day)
        assert one[day].totals == many[day].totals
        total = sum((Fraction(money.amount) for money in one[day].totals), Fraction(0))
        assert total == sum(Fraction(amount) for amount in of_day)


def test_a_row_more_or_twice_changes_the_hash(tmp_path: Path) -> None:
    def of(*tokens: int) -> str:
        spool = Spool.open(tmp_path / "-".join(map(str, tokens)), fingerprint="f")
        spool.write_page([{"usage_date": FIRST, "t": t} for t in tokens], next_token=None)
        return spool.write_day_files(day_from_field("usage_date"), [FIRST])[FIRST].content_hash

    one_two = of(1, 2)
    assert len({of(1), of(1, 1), of(2, 2), of(1, 1, 1), one_two, of(2)}) == 6
    assert one_two == of(2, 1)


@pytest.mark.parametrize("call", ["create", "write", "sync", "rename"])
def test_a_full_disk_is_a_named_error_and_loses_nothing(
    tmp_path: Path, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool.open(tmp_path, fingerprint="f")
    spool.write_page([{"usage_date": FIRST}], next_token="a")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Disk, call, full)
        with pytest.raises(SpoolError, match="No space left"):
            spool.write_page([{"usage_date": FIRST}], next_token=None)
    point = Spool.open(tmp_path, fingerprint="f").resume_point
    assert point is not None
    assert point.token == "a"


def test_pages_are_their_owners_alone(tmp_path: Path) -> None:
    Spool.open(tmp_path / "s", fingerprint="f").write_page([{"a": 1}], next_token=None)
    for path in (tmp_path / "s").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0


def test_a_fingerprint_covers_every_part() -> None:
    assert fingerprint_of("a", DAYS) == fingerprint_of("a", list(DAYS))
    assert len({fingerprint_of("a"), fingerprint_of("a", 1), fingerprint_of("a", "1")}) == 3
