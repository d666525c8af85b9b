from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from convergence_sandbox.bigquery.errors import BigQueryError
from convergence_sandbox.bigquery.rest.jobs.job import Job, JobKey
from convergence_sandbox.bigquery.rest.jobs.store import JobFilter, JobStore
from convergence_sandbox.bigquery.rest.limits import Limits, LimitSettings, mutated_table

KEY = JobKey("p", "US", "j")
QUERY = Job(KEY, "query", {"query": {"query": "SELECT 1"}, "labels": {"a": "b"}}, request_id="r")


def test_a_job_is_read_back_whole_by_the_next_process(tmp_path: Path) -> None:
    store = JobStore(tmp_path / "jobs.sqlite")
    store.insert(QUERY)
    done = QUERY.start().fail(BigQueryError("no", status=400, reason="invalid", location="q"))
    store.update(done)
    store.close()
    again = JobStore(tmp_path / "jobs.sqlite")
    assert again.get("p", "j") == done
    assert again.by_request("p", "r") == done
    with pytest.raises(BigQueryError) as caught:
        again.insert(QUERY)
    assert (caught.value.status, caught.value.reason) == (409, "duplicate")
    again.close()


def test_an_id_is_free_in_another_place_and_taken_after_deletion() -> None:
    store = JobStore(None)
    store.insert(QUERY)
    store.insert(replace(QUERY, key=JobKey("p", "asia-east1", "j")))
    store.insert(replace(QUERY, key=JobKey("other", "US", "j")))
    store.delete(KEY)
    with pytest.raises(BigQueryError, match="Not found: Job p:j"):
        store.get("p", "j")
    with pytest.raises(BigQueryError, match="Already Exists"):
        store.insert(QUERY)
    assert store.get("p", "j", location="asia-east1").key.location == "asia-east1"
    store.close()


def test_listing_filters_and_pages() -> None:
    store = JobStore(None)
    for number in range(5):
        job = replace(QUERY, key=JobKey("p", "US", f"j{number}"), created_ms=number)
        store.insert(job.start().succeed({}) if number % 2 else job)
    children = replace(QUERY, key=JobKey("p", "US", "child"), parent_id="j0")
    store.insert(children)

    def ids(requested: JobFilter, size: int = 10) -> list[str]:
        return [job.key.job_id for _, job in store.page(requested, size=size)]

    assert ids(JobFilter("p")) == ["j4", "j3", "j2", "j1", "j0"]
    assert ids(JobFilter("p", states=("DONE",))) == ["j3", "j1"]
    assert ids(JobFilter("p", since_ms=1, until_ms=2)) == ["j2", "j1"]
    assert ids(JobFilter("p", parent_id="j0")) == ["child"]
    assert ids(JobFilter("nobody")) == []
    [(_, _), (place, _)] = store.page(JobFilter("p"), size=2)
    assert ids(JobFilter("p", before=place)) == ["j2", "j1", "j0"]
    assert [job.key.job_id for job in store.unfinished()] == ["j0", "j2", "j4", "child"]
    store.close()


@pytest.mark.parametrize(
    ("sql", "table"),
    [
        ("UPDATE d.t SET a = 1 WHERE TRUE", "p:d.t"),
        ("  -- why\n/* and */ update `q.d.t` SET a = 1", "q:d.t"),
        ("DELETE FROM `q`.`d`.`t` WHERE TRUE", "q:d.t"),
        ("DELETE t WHERE TRUE", "p:default.t"),
        ("MERGE INTO d.t AS x USING y ON FALSE", "p:d.t"),
        ("MERGE `my-project`.d.t x USING y", "my-project:d.t"),
        ("INSERT INTO d.t VALUES (1)", None),
        ("SELECT 'UPDATE d.t'", None),
        ("", None),
    ],
)
def test_the_table_a_statement_mutates_is_seen(sql: str, table: str | None) -> None:
    assert mutated_table(sql, project="p", dataset="default") == table


def test_the_queue_has_room_again_after_someone_left() -> None:
    limits = Limits(LimitSettings(dml_queue=1))
    limits.enter("p:d.t")
    limits.enter("p:d.other")
    limits.enter(None)
    with pytest.raises(BigQueryError, match="limit is 1") as caught:
        limits.enter("p:d.t")
    assert caught.value.reason == "resourcesExceeded"
    limits.leave("p:d.t")
    limits.enter("p:d.t")


@pytest.mark.parametrize("changes", [{"dml_queue": -1}, {"dml_queue": True}, {"other": 1}])
def test_limits_that_make_no_sense_are_rejected(changes: dict[str, object]) -> None:
    with pytest.raises(BigQueryError):
        LimitSettings().with_changes(changes)
