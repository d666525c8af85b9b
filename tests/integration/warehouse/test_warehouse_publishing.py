"""Publishing through the real client: atomic, once, found again after every kind of loss."""

from __future__ import annotations

import gzip
import threading
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from convergence.errors import (
    WarehouseError,
)
from convergence.runs.ledger import Action, SliceEnd
from convergence.runs.publisher import Publisher
from convergence.runs.slice_states import CHECKED, ENDING
from convergence.runs.slices import Finality, SliceKey
from convergence.state.store import StateStore
from convergence.warehouse.day_file import Money
from convergence.warehouse.names import TableName
from convergence.warehouse.partitions.publish import load_partition, partition_writes
from support.warehouse_env import DAY, KEY, NOW, SCHEMA, TABLE, WarehouseEnv

OTHER_DAY = DAY + timedelta(days=1)


def test_a_day_is_published_exactly_and_its_neighbours_stay(stage: WarehouseEnv) -> None:
    load_partition(
        stage.warehouse,
        TABLE,
        OTHER_DAY,
        stage.seal(["7"], day=OTHER_DAY).path,
        schema=SCHEMA,
        rows=1,
        job_base="convergence-neighbour",
        job_labels={},
    )
    row = stage.publish(["0.000000001", "12345678901234567890.123456789"])
    stage.assert_sound(["0.000000001", "12345678901234567890.123456789"])
    assert row.totals == (Money("USD", "computed", Decimal("12345678901234567890.123456790")),)
    assert stage.newest() == row
    assert stage.costs(day=OTHER_DAY) == [Decimal(7)]
    stage.publish(["3"], run="run_2")
    stage.assert_sound(["3"])
    assert stage.costs(day=OTHER_DAY) == [Decimal(7)]


def test_the_job_is_labelled_and_named_for_its_slice(stage: WarehouseEnv) -> None:
    row = stage.publish(["1"])
    job = stage.warehouse.client.get_job(row.job_id, location="US")
    assert job.labels["org"] == "acme_corp"
    assert job.labels["table"] == "usage"
    assert job.labels["day"] == "20261117"
    assert job.labels["content"] == row.content_hash[:16]
    assert "acme_corp-usage-20261117" in row.job_id


def test_an_empty_day_empties_the_partition_atomically(stage: WarehouseEnv) -> None:
    stage.publish(["1", "2"])
    row = stage.publish([], run="run_2")
    assert (row.row_count, row.action) == (0, Action.PUBLISHED)
    stage.assert_sound([])
    assert stage.publish([], run="run_3").action is Action.UNCHANGED
    stage.publish(["1"], run="run_4")
    stage.assert_sound(["1"])


def test_a_file_without_any_byte_empties_the_partition_too(
    stage: WarehouseEnv, tmp_path: Path
) -> None:
    stage.publish(["1", "2"])
    path = tmp_path / "none.ndjson"
    path.write_bytes(b"")
    outcome = load_partition(
        stage.warehouse,
        TABLE,
        DAY,
        path,
        schema=SCHEMA,
        rows=0,
        job_base="convergence-nothing",
        job_labels={},
    )
    assert outcome.rows == 0
    assert stage.costs() == []


def test_unchanged_content_starts_no_job(stage: WarehouseEnv) -> None:
    stage.publish(["1"])
    assert stage.publish(["1"], run="run_2").action is Action.UNCHANGED
    assert len(stage.jobs()) == 1
    newest = stage.newest()
    assert newest is not None
    assert newest.run_id == "run_2"


def test_the_same_run_again_takes_the_job_it_finds(stage: WarehouseEnv) -> None:
    first = stage.publish(["1"])
    lost = stage.publisher.begin_attempts([KEY])[KEY]
    # As if the ledger had never had the row: the attempt knows of nothing published.
    blind = type(lost)(key=lost.key, number=lost.number, previous=None)
    again = stage.publish(["1"], slice_=blind)
    assert (again.action, again.job_id) == (Action.PUBLISHED, first.job_id)
    assert again.job_ended_at == first.job_ended_at
    assert len(stage.jobs()) == 1


def test_a_foreign_writer_is_detected_and_overwritten(stage: WarehouseEnv) -> None:
    stage.publish(["1", "2"])
    load_partition(
        stage.warehouse,
        TABLE,
        DAY,
        stage.seal(["8", "9"]).path,
        schema=SCHEMA,
        rows=2,
        job_base="convergence-foreign",
        job_labels={},
    )
    assert stage.costs() == [Decimal(8), Decimal(9)]
    assert stage.publish(["1", "2"]).action is Action.PUBLISHED
    stage.assert_sound(["1", "2"])


def test_a_foreign_statement_is_detected_too(stage: WarehouseEnv) -> None:
    stage.publish(["1", "2"])
    stage.query(
        "UPDATE `{{ project }}.{{ dataset }}.usage` SET cost = 5 WHERE usage_date = @day", day=DAY
    )
    stage.publish(["1", "2"], run="run_2")
    stage.assert_sound(["1", "2"])


def test_content_that_comes_back_is_published_again(stage: WarehouseEnv) -> None:
    for costs in (["1"], ["2"], ["1"], ["2"]):
        stage.publish(costs)
        stage.assert_sound(costs)


def test_a_row_that_does_not_fit_is_refused_whole_with_the_reason(stage: WarehouseEnv) -> None:
    stage.publish(["1"])
    good = stage.seal(["2", "3"])
    text = gzip.decompress(good.path.read_bytes()).replace(b'"3"', b'"not a number"')
    good.path.write_bytes(gzip.compress(text))
    with pytest.raises(WarehouseError) as caught:
        stage.publisher.publish_rows(
            KEY, good, table=TABLE, schema=SCHEMA, run_id="run_2", now=NOW, settle_days=5
        )
    assert caught.value.details["job_id"]
    assert caught.value.details["reason"] == "invalid"
    stage.assert_sound(["1"])


def test_a_row_of_another_day_is_refused(stage: WarehouseEnv) -> None:
    sealed = stage.seal(["1"], day=OTHER_DAY)
    with pytest.raises(WarehouseError):
        stage.publisher.publish_rows(
            KEY, sealed, table=TABLE, schema=SCHEMA, run_id="r", now=NOW, settle_days=5
        )
    assert stage.costs() == []


def test_a_missing_table_is_named(stage: WarehouseEnv) -> None:
    nowhere = TableName(TABLE.dataset, "nowhere")
    with pytest.raises(WarehouseError) as caught:
        stage.publisher.publish_rows(
            KEY, stage.seal(["1"]), table=nowhere, schema=SCHEMA, run_id="r", now=NOW, settle_days=5
        )
    assert caught.value.details["target"] == "acme_corp_dev.nowhere$20261117"


def test_a_reader_never_sees_a_mixture(stage: WarehouseEnv) -> None:
    old, new = ["1"] * 40, ["2"] * 60
    stage.publish(old)
    seen: set[tuple[Decimal, ...]] = set()
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            seen.add(tuple(stage.costs()))

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(6):
        stage.publish(new if number % 2 == 0 else old, run=f"run_{number}")
    done.set()
    reader.join(timeout=30)
    whole = {tuple(map(Decimal, old)), tuple(map(Decimal, new))}
    assert seen <= whole
    assert seen


def test_partition_writes_tells_the_days_that_are_there(stage: WarehouseEnv) -> None:
    stage.publish(["1", "2"])
    newest = stage.newest()
    assert newest is not None
    writes = partition_writes(stage.warehouse, TABLE, [DAY, OTHER_DAY])
    assert set(writes) == {DAY}
    assert writes[DAY].rows == 2
    assert writes[DAY].modified_at <= newest.job_ended_at + timedelta(milliseconds=1)
    assert partition_writes(stage.warehouse, TABLE, []) == {}


def test_a_row_without_content_hides_none_of_what_is_published(stage: WarehouseEnv) -> None:
    published = stage.publish(["1"])
    ended = SliceEnd(
        key=KEY,
        action=Action.REFUSED,
        attempt=published.attempt + 5,
        run_id="run_2",
        finality=Finality.SETTLING,
        checked_at=NOW + timedelta(hours=1),
    )
    stage.ledger.append_rows([ended])
    assert stage.newest() == published
    of_key: dict[str, Any] = {"orgs": [KEY.org_slug], "pipeline_id": KEY.pipeline_id}
    assert stage.ledger.read_ends(ENDING, **of_key) == {KEY: ended}
    assert stage.ledger.read_ends(CHECKED, **of_key) == {KEY: ended}
    following = stage.publisher.begin_attempts([KEY])[KEY]
    assert following.previous == published
    lost = Publisher(
        stage.warehouse, StateStore.connect(f"sqlite:///{stage.folder}/new.db"), stage.ledger
    )
    assert lost.begin_attempts([KEY])[KEY].number == ended.attempt + 1


def test_the_ledger_keeps_final_days_however_long_ago_they_were_checked(
    stage: WarehouseEnv,
) -> None:
    old = date(2025, 1, 5)
    ledger = stage.ledger
    first = stage.publish(["1"])
    then = NOW.replace(year=2025, month=1, day=20)
    key = SliceKey(KEY.org_slug, KEY.pipeline_id, KEY.table, old)
    ledger.append_rows([replace(first, key=key, checked_at=then, finality=Finality.FINAL)])
    found = ledger.read_latest(orgs=[KEY.org_slug], pipeline_id=KEY.pipeline_id, since=old)
    assert set(found) == {key, KEY}
    assert found[key].finality is Finality.FINAL
    assert set(ledger.read_latest(orgs=[KEY.org_slug], pipeline_id=KEY.pipeline_id)) == {key, KEY}
    assert set(ledger.read_latest(orgs=[KEY.org_slug], pipeline_id=KEY.pipeline_id, since=DAY)) == {
        KEY
    }
    assert ledger.read_latest(orgs=["other"], pipeline_id=KEY.pipeline_id) == {}
    assert ledger.read_latest(orgs=[KEY.org_slug], pipeline_id="other") == {}


@settings(
    max_examples=8,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    contents=st.lists(
        st.lists(st.sampled_from(["0", "0.1", "2.000000001"]), max_size=3), min_size=1, max_size=4
    )
)
def test_whatever_is_published_last_is_there_once(
    stage: WarehouseEnv, contents: list[list[str]]
) -> None:
    for number, costs in enumerate(contents):
        stage.publish(costs, run=f"run_{number % 2}")
        stage.assert_sound(costs)
