from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from convergence.errors import SupersededError, WarehouseError, WarehouseUnavailableError
from convergence.runs.ledger import Action, Ledger, LedgerRow
from convergence.runs.publisher import Attempt, PricedDay, Publisher
from convergence.runs.slices import Finality, SliceKey
from convergence.state.store import StateStore
from convergence.warehouse.day_file import DayFile, Money
from convergence.warehouse.names import TableName
from convergence.warehouse.schemas import FieldSpec, Partition, TableSchema
from fakes.bigquery import CrashError, FakeBigQuery, warehouse

DAY = date(2026, 11, 17)
NOW = datetime(2026, 11, 20, 6, 0, tzinfo=UTC)
KEY = SliceKey("acme_corp", "openai-usage-cost", "openai_usage_daily_raw", DAY)
TABLE = TableName("acme_corp_dev", "openai_usage_daily_raw")
PARTITION = f"{TABLE}$20261117"
SCHEMA = TableSchema(
    table="openai_usage_daily_raw",
    description="A table of the tests",
    partition=Partition(field="usage_date"),
    fields=(
        FieldSpec(name="usage_date", type="DATE", description="UTC day."),
        FieldSpec(name="tokens", type="INT64", description="Tokens."),
    ),
)


@dataclass
class World:
    fake: FakeBigQuery
    store: StateStore
    folder: Path

    @property
    def publisher(self) -> Publisher:
        """A new process' publisher."""
        w = warehouse(self.fake)
        return Publisher(w, self.store, Ledger(w))

    def seal(self, tokens: list[int]) -> DayFile:
        rows = [{"usage_date": DAY.isoformat(), "tokens": count} for count in tokens]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        digest = hashlib.sha256(text.encode()).hexdigest()
        path = self.folder / f"{digest}.ndjson.gz"
        path.write_bytes(gzip.compress(text.encode()))
        totals = (Money("USD", "computed", Decimal(sum(tokens))),)
        return DayFile(path, len(rows), digest, totals, source_pages=2)

    def publish(
        self,
        tokens: list[int],
        *,
        run: str = "run_1",
        now: datetime = NOW,
        slice_: SliceKey | Attempt = KEY,
    ) -> LedgerRow:
        return self.publisher.publish_rows(
            slice_,
            self.seal(tokens),
            table=TABLE,
            schema=SCHEMA,
            run_id=run,
            now=now,
            settle_days=5,
        )

    @property
    def ledger(self) -> LedgerRow | None:
        rows = Ledger(warehouse(self.fake)).latest(
            orgs=[KEY.org_slug], pipeline_id=KEY.pipeline_id, since=DAY
        )
        return rows.get(KEY)

    @property
    def tokens(self) -> list[int]:
        return [row["tokens"] for row in self.fake.partitions[PARTITION].rows]

    def assert_sound(self, tokens: list[int]) -> None:
        """The partition has this content, and the ledger says so and by which job."""
        assert self.tokens == tokens
        assert self.ledger is not None
        assert self.ledger.content_hash == self.seal(tokens).content_hash
        assert self.ledger.row_count == len(tokens)
        if tokens:
            assert self.ledger.job_id == self.fake.partitions[PARTITION].written_by


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(FakeBigQuery(), StateStore.connect(f"sqlite:///{tmp_path}/state.db"), tmp_path)


def _crash_at(number: int) -> Callable[[str], None]:
    left = [number]

    def at(_: str) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise CrashError

    return at


def _edges(world: World) -> int:
    world.fake.at = lambda _: None
    before = len(world.fake.calls)
    world.publish([1, 2, 3])
    return len(world.fake.calls) - before


def test_publishes_once_and_records(world: World) -> None:
    row = world.publish([1, 2, 3])
    world.assert_sound([1, 2, 3])
    assert row == world.ledger
    assert (row.action, row.finality, row.attempt) == (Action.PUBLISHED, Finality.SETTLING, 1)
    assert row.totals == (Money("USD", "computed", Decimal(6)),)


def test_every_crash_is_mended_by_the_same_runs_retry(tmp_path: Path) -> None:
    def fresh(number: int) -> World:
        folder = tmp_path / str(number)
        folder.mkdir()
        return World(FakeBigQuery(), StateStore.connect(f"sqlite:///{folder}/state.db"), folder)

    edges = _edges(fresh(0))
    assert edges >= 6
    for number in range(1, edges + 1):
        world = fresh(number)
        world.fake.at = _crash_at(number)
        with pytest.raises(CrashError):
            world.publish([1, 2, 3])
        world.fake.at = lambda _: None
        row = world.publish([1, 2, 3])
        world.fake.commit_orphans()
        world.assert_sound([1, 2, 3])
        assert len(world.fake.jobs) == 1, f"crash at edge {number} cost a second job"
        assert row.action in {Action.PUBLISHED, Action.UNCHANGED}


def test_a_crash_before_the_row_is_recovered_from_the_job(world: World) -> None:
    world.fake.at = lambda name: (_ for _ in ()).throw(CrashError()) if name == "insert" else None
    with pytest.raises(CrashError):
        world.publish([1, 2, 3])
    assert world.ledger is None
    world.fake.at = lambda _: None
    row = world.publish([1, 2, 3])
    assert row.action is Action.PUBLISHED
    assert len(world.fake.jobs) == 1
    world.assert_sound([1, 2, 3])


def test_every_crash_is_mended_by_another_run_with_newer_content(tmp_path: Path) -> None:
    for number in range(1, 12):
        folder = tmp_path / str(number)
        folder.mkdir()
        world = World(FakeBigQuery(), StateStore.connect(f"sqlite:///{folder}/state.db"), folder)
        world.fake.at = _crash_at(number)
        try:
            world.publish([1], run="run_1")
        except CrashError:
            world.fake.commit_orphans()
        world.fake.at = lambda _: None
        world.publish([2], run="run_2", now=NOW + timedelta(hours=1))
        world.assert_sound([2])


def test_an_orphaned_job_that_ends_late_is_found_by_the_next_run(world: World) -> None:
    world.fake.at = lambda name: (
        (_ for _ in ()).throw(CrashError()) if name == "submitted" else None
    )
    with pytest.raises(CrashError):
        world.publish([1], run="run_1")
    world.fake.at = lambda _: None
    world.publish([2], run="run_2")
    world.fake.commit_orphans()
    assert world.tokens == [1]
    world.publish([2], run="run_3")
    world.assert_sound([2])


def test_unchanged_content_starts_no_job(world: World) -> None:
    first = world.publish([1, 2, 3])
    row = world.publish([1, 2, 3], run="run_2", now=NOW + timedelta(days=4))
    assert row.action is Action.UNCHANGED
    assert len(world.fake.jobs) == 1
    assert (row.job_id, row.totals, row.source_pages) == (
        first.job_id,
        first.totals,
        first.source_pages,
    )
    assert (row.run_id, row.finality) == ("run_2", Finality.FINAL)
    assert world.ledger == row


def test_an_empty_day_is_published_and_then_unchanged(world: World) -> None:
    world.fake.write(PARTITION, [{"tokens": 9}])
    assert world.publish([]).row_count == 0
    assert world.tokens == []
    del world.fake.partitions[PARTITION]  # BigQuery may forget an empty partition
    assert world.publish([], run="run_2").action is Action.UNCHANGED
    world.fake.write(PARTITION, [{"tokens": 9}])
    assert world.publish([], run="run_3").action is Action.PUBLISHED
    assert world.tokens == []


@pytest.mark.parametrize("rows", [[{"tokens": 7}], [{"tokens": 7}] * 3])
def test_a_foreign_writer_is_found_and_overwritten(
    world: World, rows: list[dict[str, int]]
) -> None:
    world.publish([1, 2, 3])
    world.fake.write(PARTITION, rows)
    assert world.publish([1, 2, 3], run="run_2").action is Action.PUBLISHED
    world.assert_sound([1, 2, 3])


def test_a_foreign_writer_is_found_by_the_same_run_too(world: World) -> None:
    world.publish([1, 2, 3])
    world.fake.write(PARTITION, [{"tokens": 7}] * 3)
    row = world.publish([1, 2, 3])
    assert row.job_id.endswith("_1")
    world.assert_sound([1, 2, 3])


def test_a_lost_partition_is_published_again(world: World) -> None:
    world.publish([1, 2, 3])
    del world.fake.partitions[PARTITION]
    world.publish([1, 2, 3], run="run_2")
    world.assert_sound([1, 2, 3])


def test_content_that_returns_to_an_earlier_state_within_a_run_is_published(world: World) -> None:
    for tokens in ([1], [2], [1], [2], [1]):
        world.publish(tokens)
        world.assert_sound(tokens)


def test_a_changed_final_day_is_restated_until_it_rests(world: World) -> None:
    later = NOW + timedelta(days=10)
    assert world.publish([1], now=later).finality is Finality.FINAL
    assert world.publish([2], now=later, run="run_2").finality is Finality.RESTATED
    assert world.publish([3], now=later, run="run_3").finality is Finality.RESTATED
    assert world.publish([3], now=later, run="run_4").finality is Finality.FINAL


def test_an_older_attempt_does_not_publish(world: World) -> None:
    older = world.publisher.begin([KEY])[KEY]
    world.publish([2])
    with pytest.raises(SupersededError) as caught:
        world.publish([1], slice_=older)
    assert caught.value.details["after"] is False
    world.assert_sound([2])


def test_an_attempt_that_is_overtaken_while_it_publishes_says_so(world: World) -> None:
    older = world.publisher.begin([KEY])[KEY]

    def overtake(name: str) -> None:
        if name == "submitted":
            world.fake.at = lambda _: None
            world.publish([2])

    world.fake.at = overtake
    with pytest.raises(SupersededError) as caught:
        world.publish([1], slice_=older)
    assert caught.value.details["after"] is True
    assert world.tokens == [1], "the older content is there: that is why it must be made again"
    world.publish([2])
    world.assert_sound([2])


def test_a_lost_state_store_goes_on_from_the_ledger(world: World, tmp_path: Path) -> None:
    for tokens in ([1], [2], [3]):
        world.publish(tokens)
    world.store = StateStore.connect(f"sqlite:///{tmp_path}/new.db")
    assert world.publish([4]).attempt == 4
    world.assert_sound([4])


def test_a_passing_failure_takes_the_next_job_id(world: World) -> None:
    world.fake.faults = [{"reason": "backendError", "message": "try again"}]
    assert world.publish([1]).job_id.endswith("_1")
    world.assert_sound([1])


def test_failed_jobs_of_earlier_tries_are_passed_over(world: World) -> None:
    world.fake.faults = [{"reason": "invalid", "message": "bad row"}]
    with pytest.raises(WarehouseError) as caught:
        world.publish([1])
    assert caught.value.details["reason"] == "invalid"
    assert str(caught.value.details["job_id"]).endswith("_0")
    assert world.publish([1]).job_id.endswith("_1")


def test_failures_that_go_on_end_in_an_error_worth_a_retry(world: World) -> None:
    world.fake.faults = [{"reason": "backendError", "message": "try again"}] * 5
    with pytest.raises(WarehouseUnavailableError):
        world.publish([1])
    assert len(world.fake.jobs) == 3


def test_a_missing_central_table_means_bootstrap(world: World) -> None:
    from convergence.errors import NotBootstrappedError

    world.fake.missing.add("organizations.org_meta_slices")
    with pytest.raises(NotBootstrappedError):
        world.publish([1])


def test_a_query_is_published_with_the_totals_of_the_published_day(
    world: World, tmp_path: Path
) -> None:
    (tmp_path / "price.sql").write_text("SELECT 1 FROM `{{ dataset }}.usage`")
    (tmp_path / "totals.sql").write_text("SELECT 2")
    money = {"currency": "USD", "basis": "computed", "amount": Decimal("12.975")}
    world.fake.query_rows = lambda _: [{"tokens": 5}]
    world.fake.answers["totals"] = lambda _: [money]
    query = PricedDay(
        sql_path=tmp_path / "price.sql",
        identifiers={"dataset": "acme_corp_dev"},
        params={"day": DAY},
        content_hash="f" * 64,
        totals_path=tmp_path / "totals.sql",
    )
    row = world.publisher.publish_query(
        KEY, query, table=TABLE, schema=SCHEMA, run_id="run_1", now=NOW, settle_days=5
    )
    assert (row.row_count, row.totals) == (1, (Money("USD", "computed", Decimal("12.975")),))
    assert world.tokens == [5]
    again = world.publisher.publish_query(
        KEY, query, table=TABLE, schema=SCHEMA, run_id="run_2", now=NOW, settle_days=5
    )
    assert again.action is Action.UNCHANGED


def test_the_job_carries_labels_that_bigquery_takes(world: World) -> None:
    world.publish([1])
    (job,) = world.fake.jobs.values()
    assert job.labels["org"] == "acme_corp"
    assert job.labels["day"] == "20261117"
    assert set(job.labels) == {
        *("org", "pipeline", "table", "day", "run"),
        *("content", "content_rest", "attempt", "pages"),
    }
