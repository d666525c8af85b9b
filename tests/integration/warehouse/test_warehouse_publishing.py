"""Publishing through the real client: atomic, once, found again after every kind of loss."""

from __future__ import annotations

import gzip
import json
import secrets
import threading
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from convergence.errors import (
    SchemaError,
    SupersededError,
    WarehouseError,
    WarehouseUnavailableError,
)
from convergence.runs.ledger import Action
from convergence.runs.publisher import PricedDay
from convergence.runs.slices import Finality, SliceKey
from convergence.warehouse.client import Warehouse
from convergence.warehouse.evolve import ensure_table
from convergence.warehouse.names import TableName
from convergence.warehouse.publish import load_partition, partition_writes
from convergence.warehouse.schemas import TableSchema
from convergence.warehouse.sealed import Money, SealedDay
from sandbox_process import SandboxProcess
from warehouse_stage import DAY, KEY, NOW, PATIENCE, SCHEMA, TABLE, Stage, connect, stage_on

OTHER_DAY = DAY + timedelta(days=1)


def test_a_day_is_published_exactly_and_its_neighbours_stay(stage: Stage) -> None:
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


def test_the_job_is_labelled_and_named_for_its_slice(stage: Stage) -> None:
    row = stage.publish(["1"])
    job = stage.warehouse.client.get_job(row.job_id, location="US")
    assert job.labels["org"] == "acme_corp"
    assert job.labels["table"] == "usage"
    assert job.labels["day"] == "20261117"
    assert job.labels["content"] == row.content_hash[:16]
    assert "acme_corp-usage-20261117" in row.job_id


def test_an_empty_day_empties_the_partition_atomically(stage: Stage) -> None:
    stage.publish(["1", "2"])
    row = stage.publish([], run="run_2")
    assert (row.row_count, row.action) == (0, Action.PUBLISHED)
    stage.assert_sound([])
    assert stage.publish([], run="run_3").action is Action.UNCHANGED
    stage.publish(["1"], run="run_4")
    stage.assert_sound(["1"])


def test_a_file_without_any_byte_empties_the_partition_too(stage: Stage, tmp_path: Path) -> None:
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


def test_unchanged_content_starts_no_job(stage: Stage) -> None:
    stage.publish(["1"])
    assert stage.publish(["1"], run="run_2").action is Action.UNCHANGED
    assert len(stage.jobs()) == 1
    newest = stage.newest()
    assert newest is not None
    assert newest.run_id == "run_2"


def test_the_same_run_again_takes_the_job_it_finds(stage: Stage) -> None:
    first = stage.publish(["1"])
    lost = stage.publisher.begin([KEY])[KEY]
    # As if the ledger had never had the row: the attempt knows of nothing published.
    blind = type(lost)(key=lost.key, number=lost.number, previous=None)
    again = stage.publish(["1"], slice_=blind)
    assert (again.action, again.job_id) == (Action.RECOVERED, first.job_id)
    assert again.job_ended_at == first.job_ended_at
    assert len(stage.jobs()) == 1


def test_a_foreign_writer_is_detected_and_overwritten(stage: Stage) -> None:
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


def test_a_foreign_statement_is_detected_too(stage: Stage) -> None:
    stage.publish(["1", "2"])
    stage.query(
        "UPDATE `{{ project }}.{{ dataset }}.usage` SET cost = 5 WHERE usage_date = @day", day=DAY
    )
    stage.publish(["1", "2"], run="run_2")
    stage.assert_sound(["1", "2"])


def test_content_that_comes_back_is_published_again(stage: Stage) -> None:
    for costs in (["1"], ["2"], ["1"], ["2"]):
        stage.publish(costs)
        stage.assert_sound(costs)


@pytest.mark.parametrize("large", [False, True], ids=["multipart", "resumable"])
def test_a_lost_answer_costs_no_second_job(
    stage: Stage, sandbox: SandboxProcess, large: bool
) -> None:
    rule = {
        "action": "drop_reply",
        "match": {"path_regex": f"upload.*{stage.warehouse.project}.*"},
        "count": 1,
    }
    sandbox.admin("POST", "faults", rule)
    if large:
        sealed = _large(stage)
        stage.publisher.publish_rows(
            KEY, sealed, table=TABLE, schema=SCHEMA, run_id="r", now=NOW, settle_days=5
        )
    else:
        stage.publish(["1"])
        stage.assert_sound(["1"])
    assert len(stage.jobs()) == 1


def _large(stage: Stage) -> SealedDay:
    """More than the client sends in one request (5 MiB), so that it uploads by chunks."""
    rows = [
        {"usage_date": DAY.isoformat(), "model": secrets.token_hex(3000), "cost": "1"}
        for _ in range(2000)
    ]
    path = stage.folder / "large.ndjson.gz"
    text = "".join(json.dumps(row) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode(), compresslevel=1))
    assert path.stat().st_size > 5 * 1024**2
    return SealedDay(path, len(rows), "large")


def test_a_passing_failure_is_tried_under_the_next_id(
    stage: Stage, sandbox: SandboxProcess
) -> None:
    rule = {"action": "fail_job", "match": {"job": "load"}, "reason": "backendError", "count": 2}
    sandbox.admin("POST", "faults", rule)
    assert stage.publish(["1"]).job_id.endswith("_2")
    stage.assert_sound(["1"])


def test_a_lasting_failure_is_told_and_publishes_nothing(
    stage: Stage, sandbox: SandboxProcess
) -> None:
    stage.publish(["1"])
    rule = {"action": "fail_job", "match": {"job": "load"}, "reason": "backendError", "count": 9}
    sandbox.admin("POST", "faults", rule)
    with pytest.raises(WarehouseUnavailableError) as caught:
        stage.publish(["2"], run="run_2")
    assert caught.value.facts["reason"] == "backendError"
    assert stage.costs() == [Decimal(1)]


def test_a_row_that_does_not_fit_is_refused_whole_with_the_reason(stage: Stage) -> None:
    stage.publish(["1"])
    good = stage.seal(["2", "3"])
    text = gzip.decompress(good.path.read_bytes()).replace(b'"3"', b'"not a number"')
    good.path.write_bytes(gzip.compress(text))
    with pytest.raises(WarehouseError) as caught:
        stage.publisher.publish_rows(
            KEY, good, table=TABLE, schema=SCHEMA, run_id="run_2", now=NOW, settle_days=5
        )
    assert caught.value.facts["job_id"]
    assert caught.value.facts["reason"] == "invalid"
    stage.assert_sound(["1"])


def test_a_row_of_another_day_is_refused(stage: Stage) -> None:
    sealed = stage.seal(["1"], day=OTHER_DAY)
    with pytest.raises(WarehouseError):
        stage.publisher.publish_rows(
            KEY, sealed, table=TABLE, schema=SCHEMA, run_id="r", now=NOW, settle_days=5
        )
    assert stage.costs() == []


def test_a_missing_table_is_named(stage: Stage) -> None:
    nowhere = TableName(TABLE.dataset, "nowhere")
    with pytest.raises(WarehouseError) as caught:
        stage.publisher.publish_rows(
            KEY, stage.seal(["1"]), table=nowhere, schema=SCHEMA, run_id="r", now=NOW, settle_days=5
        )
    assert caught.value.facts["target"] == "acme_corp_dev.nowhere$20261117"


def test_a_killed_warehouse_that_had_committed_is_recovered_from(
    stage: Stage, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    own = SandboxProcess(tmp_path_factory.mktemp("killed"))
    own.start()
    try:
        lost = stage_on(connect(own), stage.store, tmp_path)
        own.admin("POST", "faults", {"action": "kill_before_done", "match": {"job": "load"}})
        impatient = Warehouse(
            lost.warehouse.client, location="US", patience=replace(PATIENCE, call=5, retry=1)
        )
        broken = Stage(impatient, lost.store, tmp_path)
        with pytest.raises(WarehouseUnavailableError):
            broken.publish(["1", "2"])
        own.kill()
        own.start()
        row = lost.publish(["1", "2"])
        lost.assert_sound(["1", "2"])
        assert row.action is Action.RECOVERED
        assert len(lost.jobs()) == 1
    finally:
        own.kill()


def test_an_older_attempt_whose_job_is_slow_is_told_that_it_was_overtaken(
    stage: Stage, sandbox: SandboxProcess
) -> None:
    older = stage.publisher.begin([KEY])[KEY]
    rule = {"action": "hold_job", "match": {"job": "load"}, "seconds": 2, "count": 1}
    sandbox.admin("POST", "faults", rule)
    told: list[SupersededError] = []

    def publish_old() -> None:
        try:
            stage.publish(["1"], slice_=older)
        except SupersededError as error:
            told.append(error)

    slow = threading.Thread(target=publish_old)
    slow.start()
    while not stage.jobs():
        pass
    stage.publish(["2"], run="run_2")
    slow.join(timeout=30)
    assert told[0].facts["after"] is True
    assert stage.costs() == [Decimal(1)], "the stale content: so it must be made again"
    stage.publish(["2"], run="run_2")
    stage.assert_sound(["2"])


def test_a_reader_never_sees_a_mixture(stage: Stage) -> None:
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


PRICED = TableSchema.model_validate(
    {
        "table": "priced",
        "description": "A priced table of the tests",
        "partition": {"field": "usage_date", "type": "DAY"},
        "fields": [
            {"name": "usage_date", "type": "DATE", "description": "UTC day."},
            {"name": "model", "type": "STRING", "description": "Model."},
            {"name": "cost", "type": "NUMERIC", "description": "Cost in USD."},
        ],
    }
)
PRICE = """
SELECT usage_date, model, cost * 2 AS cost
FROM `{{ project }}.{{ dataset }}.usage`
WHERE usage_date = @day
"""
TOTALS = """
SELECT 'USD' AS currency, 'computed' AS basis, SUM(cost) AS amount
FROM `{{ project }}.{{ dataset }}.priced`
WHERE usage_date = @day
HAVING COUNT(*) > 0
"""


@pytest.fixture
def priced(stage: Stage) -> tuple[TableName, SliceKey]:
    name = TableName(TABLE.dataset, "priced")
    ensure_table(stage.warehouse, name, PRICED)
    return name, SliceKey(KEY.org_slug, KEY.pipeline_id, "priced", DAY)


def _query(stage: Stage, content: str) -> PricedDay:
    (stage.folder / "price.sql").write_text(PRICE)
    (stage.folder / "totals.sql").write_text(TOTALS)
    return PricedDay(
        sql_path=stage.folder / "price.sql",
        identifiers={"dataset": TABLE.dataset},
        params={"day": DAY},
        content_hash=content,
        totals_path=stage.folder / "totals.sql",
    )


def test_a_query_fills_its_partition_and_is_recorded_with_its_totals(
    stage: Stage, priced: tuple[TableName, SliceKey]
) -> None:
    table, key = priced

    def publish(content: str, run: str) -> tuple[Action, tuple[Money, ...], int]:
        row = stage.publisher.publish_query(
            key,
            _query(stage, content),
            table=table,
            schema=PRICED,
            run_id=run,
            now=NOW,
            settle_days=5,
        )
        return row.action, row.totals, row.row_count

    stage.publish(["1.000000001", "2"])
    total = (Money("USD", "computed", Decimal("6.000000002")),)
    assert publish("a", "run_1") == (Action.PUBLISHED, total, 2)
    assert publish("a", "run_2") == (Action.UNCHANGED, total, 2)
    stage.publish([], run="run_2")
    assert publish("b", "run_2") == (Action.PUBLISHED, (), 0)
    assert publish("b", "run_3") == (Action.UNCHANGED, (), 0)
    descriptions = [
        field.description for field in stage.warehouse.client.get_table(f"{table}").schema
    ]
    assert descriptions == [field.description for field in PRICED.fields]


def test_a_query_job_is_found_again(stage: Stage, priced: tuple[TableName, SliceKey]) -> None:
    table, key = priced
    stage.publish(["1"])
    outcomes = []
    for _ in range(2):
        attempt = stage.publisher.begin([key])[key]
        blind = type(attempt)(key=key, number=attempt.number, previous=None)
        row = stage.publisher.publish_query(
            blind,
            _query(stage, "a"),
            table=table,
            schema=PRICED,
            run_id="run_1",
            now=NOW,
            settle_days=5,
        )
        outcomes.append((row.action, row.job_id))
    (first, first_job), (second, second_job) = outcomes
    assert (first, second) == (Action.PUBLISHED, Action.RECOVERED)
    assert first_job == second_job


def test_a_table_with_required_columns_takes_no_query(
    stage: Stage, priced: tuple[TableName, SliceKey]
) -> None:
    with pytest.raises(SchemaError):
        stage.publisher.publish_query(
            KEY,
            _query(stage, "a"),
            table=TABLE,
            schema=SCHEMA,
            run_id="run_1",
            now=NOW,
            settle_days=5,
        )


def test_partition_writes_tells_the_days_that_are_there(stage: Stage) -> None:
    stage.publish(["1", "2"])
    newest = stage.newest()
    assert newest is not None
    writes = partition_writes(stage.warehouse, TABLE, [DAY, OTHER_DAY])
    assert set(writes) == {DAY}
    assert writes[DAY].rows == 2
    assert writes[DAY].modified_at <= newest.job_ended_at + timedelta(milliseconds=1)
    assert partition_writes(stage.warehouse, TABLE, []) == {}


def test_the_ledger_keeps_final_days_however_long_ago_they_were_checked(stage: Stage) -> None:
    old = date(2025, 1, 5)
    ledger = stage.ledger
    first = stage.publish(["1"])
    then = NOW.replace(year=2025, month=1, day=20)
    key = SliceKey(KEY.org_slug, KEY.pipeline_id, KEY.table, old)
    ledger.record([replace(first, key=key, checked_at=then, finality=Finality.FINAL)])
    found = ledger.latest(orgs=[KEY.org_slug], pipeline_id=KEY.pipeline_id, since=old)
    assert set(found) == {key, KEY}
    assert found[key].finality is Finality.FINAL
    assert set(ledger.latest(orgs=[KEY.org_slug], pipeline_id=KEY.pipeline_id)) == {key, KEY}
    assert set(ledger.latest(orgs=[KEY.org_slug], pipeline_id=KEY.pipeline_id, since=DAY)) == {KEY}
    assert ledger.latest(orgs=["other"], pipeline_id=KEY.pipeline_id) == {}
    assert ledger.latest(orgs=[KEY.org_slug], pipeline_id="other") == {}


@settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    contents=st.lists(
        st.lists(st.sampled_from(["0", "0.1", "2.000000001"]), max_size=3), min_size=1, max_size=4
    )
)
def test_whatever_is_published_last_is_there_once(stage: Stage, contents: list[list[str]]) -> None:
    for number, costs in enumerate(contents):
        stage.publish(costs, run=f"run_{number % 2}")
        stage.assert_sound(costs)
