"""Attempts at one slice, interleaved at every call that any of them makes."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from convergence.errors import SupersededError
from convergence.runs.ledger import Ledger
from convergence.runs.publisher import Publisher
from convergence.runs.slices import SliceKey
from convergence.state.store import StateStore
from convergence.warehouse.day_file import DayFile
from convergence.warehouse.names import TableName
from convergence.warehouse.partitions.publish import PartitionWrite, is_intact
from convergence.warehouse.schemas import FieldSpec, Partition, TableSchema
from support.fake_bigquery import CrashError, FakeBigQuery, warehouse

DAY = date(2026, 11, 17)
NOW = datetime(2026, 11, 20, 6, 0, tzinfo=UTC)
KEY = SliceKey("acme_corp", "openai-usage-cost", "usage", DAY)
TABLE = TableName("acme_corp_dev", "usage")
SCHEMA = TableSchema(
    table="usage",
    description="A table of the tests",
    partition=Partition(field="usage_date"),
    fields=(FieldSpec(name="usage_date", type="DATE", description="UTC day."),),
)
TRIES = 30


class Turns:
    """Threads that run one at a time: each waits at its calls until the schedule names it."""

    def __init__(self, schedule: Sequence[int]) -> None:
        self._schedule = list(schedule)
        self._alive: set[int] = set()
        self._turn: int | None = None
        self._changed = threading.Condition()
        self._me = threading.local()

    @property
    def number(self) -> int:
        """The running thread's number."""
        number: int = self._me.number
        return number

    def pause(self, _: str) -> None:
        with self._changed:
            self._choose()
            self._changed.notify_all()
            self._await()

    def run(self, tasks: Sequence[Callable[[], None]]) -> None:
        threads = [
            threading.Thread(target=self._run, args=(number, task))
            for number, task in enumerate(tasks)
        ]
        with self._changed:
            self._alive = set(range(len(tasks)))
            self._choose()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=30)
            assert not thread.is_alive()

    def _run(self, number: int, task: Callable[[], None]) -> None:
        self._me.number = number
        try:
            with self._changed:
                self._await()
            task()
        finally:
            with self._changed:
                self._alive.discard(number)
                self._choose()
                self._changed.notify_all()

    def _await(self) -> None:
        assert self._changed.wait_for(lambda: self._turn == self._me.number, timeout=30)

    def _choose(self) -> None:
        while self._schedule:
            chosen = self._schedule.pop(0)
            if chosen in self._alive:
                self._turn = chosen
                return
        self._turn = min(self._alive, default=None)


@dataclass
class Race:
    """Workers that extract what the provider says now and publish it.

    Attributes:
        deaths: worker number to the call at which its process dies.
        made: attempt number to the version of the content it extracted.
    """

    folder: Path
    turns: Turns
    deaths: dict[int, int] = field(default_factory=dict)
    made: dict[int, int] = field(default_factory=dict)
    failures: list[Exception] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.fake = FakeBigQuery(at=self.at)
        self.store = StateStore.connect(f"sqlite:///{self.folder}/state.db")

    def at(self, name: str) -> None:
        number = self.turns.number
        if number in self.deaths:
            self.deaths[number] -= 1
            if self.deaths[number] == 0:
                raise CrashError
        self.turns.pause(name)

    def work(self, run: str) -> None:
        try:
            self._work(run)
        except CrashError:
            pass
        except Exception as error:  # noqa: BLE001 - the test's own thread reports it
            self.failures.append(error)

    def _work(self, run: str) -> None:
        w = warehouse(self.fake)
        publisher = Publisher(w, self.store, Ledger(w))
        for _ in range(TRIES):
            attempt = publisher.begin_attempts([KEY])[KEY]
            self.at("begun")
            version = len(self.made)
            self.made[attempt.number] = version
            self.at("extracted")
            try:
                publisher.publish_rows(
                    attempt,
                    self.seal(version),
                    table=TABLE,
                    schema=SCHEMA,
                    run_id=run,
                    now=NOW,
                    settle_days=5,
                )
            except SupersededError as error:
                if not error.details["after"]:
                    return
            else:
                return
        raise AssertionError("the attempts never came to rest")

    def check(self) -> None:
        """The newest attempt's content is there; the ledger says so, and which job wrote it."""
        assert not self.failures
        partition = self.fake.partitions[f"{TABLE}$20261117"]
        content = self.made[max(self.made)] % 3
        assert partition.rows == [{"version": content}]
        row = Ledger(warehouse(self.fake)).read_latest(
            orgs=[KEY.org_slug], pipeline_id=KEY.pipeline_id, since=DAY
        )[KEY]
        assert row.content_hash == f"hash-{content}"
        assert row.job_id == partition.written_by
        write = PartitionWrite(partition.modified_at, len(partition.rows))
        assert is_intact(write, rows=row.row_count, written_by=row.job_ended_at)

    def seal(self, version: int) -> DayFile:
        # Every third version equals an earlier one: content may return to what it was.
        content = version % 3
        path = self.folder / f"{content}.ndjson.gz"
        path.write_bytes(gzip.compress((json.dumps({"version": content}) + "\n").encode()))
        return DayFile(path, 1, f"hash-{content}")


schedules = st.lists(st.integers(0, 2), max_size=60)


def _run_names(*, same: bool) -> list[str]:
    return ["run_1"] * 3 if same else ["run_1", "run_2", "run_3"]


@settings(max_examples=80)
@given(schedule=schedules, same_run=st.booleans())
def test_the_newest_attempts_content_wins_and_the_ledger_tells_the_truth(
    schedule: list[int], same_run: bool
) -> None:
    with TemporaryDirectory() as folder:
        turns = Turns(schedule)
        race = Race(Path(folder), turns)
        turns.run([partial(race.work, run) for run in _run_names(same=same_run)])
        race.fake.at = lambda _: None
        race.check()
        race.store.close()


@settings(max_examples=80)
@given(
    schedule=schedules,
    same_run=st.booleans(),
    deaths=st.dictionaries(st.integers(0, 2), st.integers(1, 14), min_size=1),
)
def test_whatever_dies_on_the_way_the_next_run_makes_true(
    schedule: list[int], same_run: bool, deaths: dict[int, int]
) -> None:
    with TemporaryDirectory() as folder:
        turns = Turns(schedule)
        race = Race(Path(folder), turns, deaths=deaths)
        turns.run([partial(race.work, run) for run in _run_names(same=same_run)])
        race.fake.at = lambda _: None
        race.fake.commit_orphans()
        race.deaths.clear()
        race.turns = Turns([])
        race.turns.run([partial(race.work, "run_4")])
        race.check()
        race.store.close()
