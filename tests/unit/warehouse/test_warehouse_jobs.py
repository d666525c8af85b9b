from __future__ import annotations

import gzip
import logging
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
import requests
from google.cloud import bigquery

from convergence.errors import SchemaError, WarehouseError, WarehouseUnavailableError
from convergence.warehouse.jobs import MAX_JOBS
from convergence.warehouse.names import TableName
from convergence.warehouse.partitions.fill import query_partition
from convergence.warehouse.partitions.publish import (
    PartitionWrite,
    is_intact,
    load_partition,
)
from convergence.warehouse.schemas import FieldSpec, Partition, TableSchema
from support.fake_bigquery import FakeBigQuery, Job, warehouse

TABLE = TableName("acme_dev", "usage")
DAY = date(2026, 11, 17)
DAY_COLUMN = FieldSpec(name="day", type="DATE", description="UTC day.")
SCHEMA = TableSchema(
    table="usage",
    description="A table of the tests",
    partition=Partition(field="day"),
    fields=(DAY_COLUMN,),
)


class Stuck(FakeBigQuery):
    """Its jobs never end; cancelling them is noted."""

    def _commit(self, job_id: str) -> None:
        assert job_id in self.jobs


def _load(fake: FakeBigQuery, path: Path, rows: int = 2, schema: TableSchema = SCHEMA) -> str:
    path.write_bytes(gzip.compress(b'{"day": "2026-11-17"}\n' * 2))
    return load_partition(
        warehouse(fake),
        TABLE,
        DAY,
        path,
        schema=schema,
        rows=rows,
        job_base="base",
        job_labels={"org": "acme"},
    ).job_id


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "day.ndjson.gz"


def test_a_job_that_never_ends_is_stopped_and_told(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stopped: list[str] = []

    def cancel(job: bigquery.LoadJob, **_: object) -> None:
        stopped.append(job.job_id)

    monkeypatch.setattr(bigquery.LoadJob, "cancel", cancel)
    with caplog.at_level(logging.INFO), pytest.raises(WarehouseUnavailableError) as caught:
        _load(Stuck(), path)
    assert stopped == ["base_0"]
    assert caught.value.details["job_id"] == "base_0"
    assert caplog.text.count("is RUNNING after") >= 10, "a person reads how long it goes on"


def test_jobs_under_way_can_be_cancelled_from_another_thread(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeBigQuery()
    w = warehouse(fake)
    seen: list[list[str]] = []
    monkeypatch.setattr(bigquery.LoadJob, "cancel", lambda _, **__: True)

    def at(name: str) -> None:
        if name == "get job":
            seen.append(w.cancel_jobs())

    fake.at = at
    path.write_bytes(gzip.compress(b""))
    load_partition(w, TABLE, DAY, path, schema=SCHEMA, rows=0, job_base="base", job_labels={})
    assert seen[0] == ["base_0"]
    assert w.cancel_jobs() == [], "nothing is under way any more"


def test_a_start_whose_answer_is_lost_is_found_again(path: Path) -> None:
    fake = FakeBigQuery()
    lost = [True]

    def at(name: str) -> None:
        if name == "submitted" and lost:
            lost.clear()
            raise requests.exceptions.ConnectionError("reset")

    fake.at = at
    assert _load(fake, path) == "base_0"
    assert list(fake.jobs) == ["base_0"]


def test_a_way_that_stays_broken_ends_in_an_error_worth_a_retry(path: Path) -> None:
    fake = FakeBigQuery()

    def at(_: str) -> None:
        raise requests.exceptions.ConnectionError("refused")

    fake.at = at
    with pytest.raises(WarehouseUnavailableError):
        _load(fake, path)


def test_another_number_of_rows_than_the_file_has_is_an_error(path: Path) -> None:
    with pytest.raises(WarehouseError) as caught:
        _load(FakeBigQuery(), path, rows=3)
    assert (caught.value.details["rows"], caught.value.details["expected"]) == (2, 3)


def test_job_ids_run_out(path: Path) -> None:
    fake = FakeBigQuery()
    failed = {"reason": "invalid", "message": "bad"}
    for number in range(MAX_JOBS):
        fake.jobs[f"base_{number}"] = Job(
            "load", f"{TABLE}$20261117", [], {}, "DONE", ended_at=fake.tick(), error=failed
        )
    with pytest.raises(WarehouseError, match="Every job id"):
        _load(fake, path)


def test_a_query_fills_no_table_with_required_columns(tmp_path: Path) -> None:
    sql = tmp_path / "x.sql"
    sql.write_text("SELECT 1")
    strict = SCHEMA.model_copy(
        update={"fields": (DAY_COLUMN.model_copy(update={"mode": "REQUIRED"}),)}
    )
    with pytest.raises(SchemaError) as caught:
        query_partition(
            warehouse(FakeBigQuery()),
            TABLE,
            DAY,
            sql,
            schema=strict,
            identifiers={},
            params={},
            job_base="base",
            job_labels={},
        )
    assert caught.value.details["columns"] == ["day"]


def test_only_daily_tables_are_published_by_day(path: Path) -> None:
    with pytest.raises(SchemaError):
        _load(FakeBigQuery(), path, schema=SCHEMA.model_copy(update={"partition": None}))
    monthly = SCHEMA.model_copy(update={"partition": Partition(field="day", type="MONTH")})
    with pytest.raises(SchemaError):
        _load(FakeBigQuery(), path, schema=monthly)


def test_when_a_partition_is_intact() -> None:
    end = datetime(2026, 11, 20, 6, 0, 0, 5000, tzinfo=UTC)
    grain = timedelta(microseconds=1)

    def intact(at: datetime, rows: int) -> bool:
        return is_intact(PartitionWrite(at, rows), rows=2, written_by=end)

    assert intact(end - grain, 2)
    assert intact(end + 999 * grain, 2), "the end of a job is in whole milliseconds"
    assert not intact(end + 1000 * grain, 2)
    assert not intact(end - grain, 3)
    assert not is_intact(None, rows=2, written_by=end)
    assert is_intact(None, rows=0, written_by=end)
