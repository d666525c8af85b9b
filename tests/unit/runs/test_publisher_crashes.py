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
from support.fake_bigquery import CrashError, FakeBigQuery, warehouse

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
class PublisherEnv:
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
        rows = Ledger(warehouse(self.fake)).read_latest(
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
def env(tmp_path: Path) -> PublisherEnv:
    store = StateStore.connect(f"sqlite:///{tmp_path}/state.db")
    return PublisherEnv(FakeBigQuery(), store, tmp_path)


def _crash_at(number: int) -> Callable[[str], None]:
    left = [number]

    def at(_: str) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise CrashError

    return at


def _edges(env: PublisherEnv) -> int:
    env.fake.at = lambda _: None
    before = len(env.fake.calls)
    env.publish([1, 2, 3])
    return len(env.fake.calls) - before


def test_publishes_once_and_records(env: PublisherEnv) -> None:
    row = env.publish([1, 2, 3])
    env.assert_sound([1, 2, 3])
    assert row == env.ledger
    assert (row.action, row.finality, row.attempt) == (Action.PUBLISHED, Finality.SETTLING, 1)
    assert row.totals == (Money("USD", "computed", Decimal(6)),)


def test_every_crash_is_mended_by_the_same_runs_retry(tmp_path: Path) -> None:
    def fresh(number: int) -> PublisherEnv:
        folder = tmp_path / str(number)
        folder.mkdir()
        store = StateStore.connect(f"sqlite:///{folder}/state.db")
        return PublisherEnv(FakeBigQuery(), store, folder)

    edges = _edges(fresh(0))
    assert edges >= 6
    for number in range(1, edges + 1):
        env = fresh(number)
        env.fake.at = _crash_at(number)
        with pytest.raises(CrashError):
            env.publish([1, 2, 3])
        env.fake.at = lambda _: None
        row = env.publish([1, 2, 3])
        env.fake.commit_orphans()
        env.assert_sound([1, 2, 3])
        assert len(env.fake.jobs) == 1, f"crash at edge {number} cost a second job"
        assert row.action in {Action.PUBLISHED, Action.UNCHANGED}


def test_a_crash_before_the_row_is_recovered_from_the_job(env: PublisherEnv) -> None:
    env.fake.at = lambda name: (_ for _ in ()).throw(CrashError()) if name == "insert" else None
    with pytest.raises(CrashError):
        env.publish([1, 2, 3])
    assert env.ledger is None
    env.fake.at = lambda _: None
    row = env.publish([1, 2, 3])
    assert row.action is Action.PUBLISHED
    assert len(env.fake.jobs) == 1
    env.assert_sound([1, 2, 3])


def test_every_crash_is_mended_by_another_run_with_newer_content(tmp_path: Path) -> None:
    for number in range(1, 12):
        folder = tmp_path / str(number)
        folder.mkdir()
        store = StateStore.connect(f"sqlite:///{folder}/state.db")
        env = PublisherEnv(FakeBigQuery(), store, folder)
        env.fake.at = _crash_at(number)
        try:
            env.publish([1], run="run_1")
        except CrashError:
            env.fake.commit_orphans()
        env.fake.at = lambda _: None
        env.publish([2], run="run_2", now=NOW + timedelta(hours=1))
        env.assert_sound([2])


def test_an_orphaned_job_that_ends_late_is_found_by_the_next_run(env: PublisherEnv) -> None:
    env.fake.at = lambda name: (_ for _ in ()).throw(CrashError()) if name == "submitted" else None
    with pytest.raises(CrashError):
        env.publish([1], run="run_1")
    env.fake.at = lambda _: None
    env.publish([2], run="run_2")
    env.fake.commit_orphans()
    assert env.tokens == [1]
    env.publish([2], run="run_3")
    env.assert_sound([2])


def test_unchanged_content_starts_no_job(env: PublisherEnv) -> None:
    first = env.publish([1, 2, 3])
    row = env.publish([1, 2, 3], run="run_2", now=NOW + timedelta(days=4))
    assert row.action is Action.UNCHANGED
    assert len(env.fake.jobs) == 1
    assert (row.job_id, row.totals, row.source_pages) == (
        first.job_id,
        first.totals,
        first.source_pages,
    )
    assert (row.run_id, row.finality) == ("run_2", Finality.FINAL)
    assert env.ledger == row


def test_an_empty_day_is_published_and_then_unchanged(env: PublisherEnv) -> None:
    env.fake.write(PARTITION, [{"tokens": 9}])
    assert env.publish([]).row_count == 0
    assert env.tokens == []
    del env.fake.partitions[PARTITION]  # BigQuery may forget an empty partition
    assert env.publish([], run="run_2").action is Action.UNCHANGED
    env.fake.write(PARTITION, [{"tokens": 9}])
    assert env.publish([], run="run_3").action is Action.PUBLISHED
    assert env.tokens == []


@pytest.mark.parametrize("rows", [[{"tokens": 7}], [{"tokens": 7}] * 3])
def test_a_foreign_writer_is_found_and_overwritten(
    env: PublisherEnv, rows: list[dict[str, int]]
) -> None:
    env.publish([1, 2, 3])
    env.fake.write(PARTITION, rows)
    assert env.publish([1, 2, 3], run="run_2").action is Action.PUBLISHED
    env.assert_sound([1, 2, 3])


def test_a_foreign_writer_is_found_by_the_same_run_too(env: PublisherEnv) -> None:
    env.publish([1, 2, 3])
    env.fake.write(PARTITION, [{"tokens": 7}] * 3)
    row = env.publish([1, 2, 3])
    assert row.job_id.endswith("_1")
    env.assert_sound([1, 2, 3])


def test_a_lost_partition_is_published_again(env: PublisherEnv) -> None:
    env.publish([1, 2, 3])
    del env.fake.partitions[PARTITION]
    env.publish([1, 2, 3], run="run_2")
    env.assert_sound([1, 2, 3])


def test_content_that_returns_to_an_earlier_state_within_a_run_is_published(
    env: PublisherEnv,
) -> None:
    for tokens in ([1], [2], [1], [2], [1]):
        env.publish(tokens)
        env.assert_sound(tokens)


def test_a_changed_final_day_is_restated_until_it_rests(env: PublisherEnv) -> None:
    later = NOW + timedelta(days=10)
    assert env.publish([1], now=later).finality is Finality.FINAL
    assert env.publish([2], now=later, run="run_2").finality is Finality.RESTATED
    assert env.publish([3], now=later, run="run_3").finality is Finality.RESTATED
    assert env.publish([3], now=later, run="run_4").finality is Finality.FINAL


def test_an_older_attempt_does_not_publish(env: PublisherEnv) -> None:
    older = env.publisher.begin_attempts([KEY])[KEY]
    env.publish([2])
    with pytest.raises(SupersededError) as caught:
        env.publish([1], slice_=older)
    assert caught.value.details["after"] is False
    env.assert_sound([2])


def test_an_attempt_that_is_overtaken_while_it_publishes_says_so(env: PublisherEnv) -> None:
    older = env.publisher.begin_attempts([KEY])[KEY]

    def overtake(name: str) -> None:
        if name == "submitted":
            env.fake.at = lambda _: None
            env.publish([2])

    env.fake.at = overtake
    with pytest.raises(SupersededError) as caught:
        env.publish([1], slice_=older)
    assert caught.value.details["after"] is True
    assert env.tokens == [1], "the older content is there: that is why it must be made again"
    env.publish([2])
    env.assert_sound([2])


def test_a_lost_state_store_goes_on_from_the_ledger(env: PublisherEnv, tmp_path: Path) -> None:
    for tokens in ([1], [2], [3]):
        env.publish(tokens)
    env.store = StateStore.connect(f"sqlite:///{tmp_path}/new.db")
    assert env.publish([4]).attempt == 4
    env.assert_sound([4])


def test_a_passing_failure_takes_the_next_job_id(env: PublisherEnv) -> None:
    env.fake.faults = [{"reason": "backendError", "message": "try again"}]
    assert env.publish([1]).job_id.endswith("_1")
    env.assert_sound([1])


def test_failed_jobs_of_earlier_tries_are_passed_over(env: PublisherEnv) -> None:
    env.fake.faults = [{"reason": "invalid", "message": "bad row"}]
    with pytest.raises(WarehouseError) as caught:
        env.publish([1])
    assert caught.value.details["reason"] == "invalid"
    assert str(caught.value.details["job_id"]).endswith("_0")
    assert env.publish([1]).job_id.endswith("_1")


def test_failures_that_go_on_end_in_an_error_worth_a_retry(env: PublisherEnv) -> None:
    env.fake.faults = [{"reason": "backendError", "message": "try again"}] * 5
    with pytest.raises(WarehouseUnavailableError):
        env.publish([1])
    assert len(env.fake.jobs) == 3


def test_a_missing_central_table_means_bootstrap(env: PublisherEnv) -> None:
    from convergence.errors import NotBootstrappedError

    env.fake.missing.add("organizations.org_meta_slices")
    with pytest.raises(NotBootstrappedError):
        env.publish([1])


def test_a_query_is_published_with_the_totals_of_the_published_day(
    env: PublisherEnv, tmp_path: Path
) -> None:
    (tmp_path / "price.sql").write_text("SELECT 1 FROM `{{ dataset }}.usage`")
    (tmp_path / "totals.sql").write_text("SELECT 2")
    money = {"currency": "USD", "basis": "computed", "amount": Decimal("12.975")}
    env.fake.query_rows = lambda _: [{"tokens": 5}]
    env.fake.answers["totals"] = lambda _: [money]
    query = PricedDay(
        sql_path=tmp_path / "price.sql",
        identifiers={"dataset": "acme_corp_dev"},
        params={"day": DAY},
        content_hash="f" * 64,
        totals_path=tmp_path / "totals.sql",
    )
    row = env.publisher.publish_query(
        KEY, query, table=TABLE, schema=SCHEMA, run_id="run_1", now=NOW, settle_days=5
    )
    assert (row.row_count, row.totals) == (1, (Money("USD", "computed", Decimal("12.975")),))
    assert env.tokens == [5]
    again = env.publisher.publish_query(
        KEY, query, table=TABLE, schema=SCHEMA, run_id="run_2", now=NOW, settle_days=5
    )
    assert again.action is Action.UNCHANGED


def test_the_job_carries_labels_that_bigquery_takes(env: PublisherEnv) -> None:
    env.publish([1])
    (job,) = env.fake.jobs.values()
    assert job.labels["org"] == "acme_corp"
    assert job.labels["day"] == "20261117"
    assert set(job.labels) == {
        *("org", "pipeline", "table", "day", "run"),
        *("content", "content_rest", "attempt", "pages"),
    }
