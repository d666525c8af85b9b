from __future__ import annotations

import datetime as dt
import uuid

import pytest
from google.api_core import exceptions
from google.cloud import bigquery

from conformance.client import Ask, Client, Job, Make


def start_query(client: Client, sql: str, job_id: str) -> Job:
    return client.query(sql, job_id=job_id, job_retry=None)


def test_a_job_id_is_taken_once(client: Client, job_id: str) -> None:
    start_query(client, "SELECT 1", job_id).result()
    with pytest.raises(exceptions.Conflict) as caught:
        start_query(client, "SELECT 2", job_id)
    assert caught.value.errors[0]["reason"] == "duplicate"
    assert job_id in caught.value.message
    assert [row[0] for row in client.get_job(job_id).result()] == [1]


def test_a_failed_jobs_id_stays_taken(client: Client, job_id: str) -> None:
    with pytest.raises(exceptions.BadRequest):
        start_query(client, "SELECT 1/0", job_id).result()
    with pytest.raises(exceptions.Conflict):
        start_query(client, "SELECT 1", job_id)


def test_a_load_jobs_id_is_taken_once(client: Client, make: Make, job_id: str) -> None:
    table = make([("a", "STRING")])
    config = bigquery.LoadJobConfig(schema=table.schema)
    for expected in (None, exceptions.Conflict):
        if expected is None:
            client.load_table_from_json(
                [{"a": "x"}], table, job_id=job_id, job_config=config
            ).result()
            continue
        with pytest.raises(expected):
            client.load_table_from_json([{"a": "x"}], table, job_id=job_id, job_config=config)
    assert client.get_table(table).num_rows == 1


def test_an_unknown_job_is_404(client: Client) -> None:
    with pytest.raises(exceptions.NotFound) as caught:
        client.get_job("conformance_none")
    assert caught.value.errors[0]["reason"] == "notFound"


def test_a_failed_job_says_why(client: Client, job_id: str) -> None:
    job = start_query(client, "SELECT CAST('x' AS INT64)", job_id)
    with pytest.raises(exceptions.BadRequest):
        job.result()
    found = client.get_job(job_id)
    assert found.state == "DONE"
    assert found.error_result["reason"] == "invalidQuery"
    assert found.error_result["message"]
    assert found.errors
    with pytest.raises(exceptions.BadRequest):
        found.result()


def test_jobs_are_listed_newest_first_and_in_pages(client: Client, job_id: str) -> None:
    ids = [f"{job_id}_{number}" for number in range(3)]
    for one in ids:
        start_query(client, "SELECT 1", one).result()
    since = client.get_job(ids[0]).created - dt.timedelta(milliseconds=1)
    found = [job.job_id for job in client.list_jobs(page_size=2, min_creation_time=since)]
    assert [one for one in found if one in ids] == ids[::-1]
    assert len(list(client.list_jobs(max_results=2))) == 2
    future = dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)
    assert list(client.list_jobs(min_creation_time=future)) == []


def test_jobs_are_listed_by_state(client: Client, ask: Ask) -> None:
    ask("SELECT 1")
    assert {job.state for job in client.list_jobs(state_filter="done", max_results=5)} == {"DONE"}


def test_cancelling_a_done_job_changes_nothing(client: Client, job_id: str) -> None:
    job = start_query(client, "SELECT 1", job_id)
    job.result()
    job.cancel()
    assert client.get_job(job_id).error_result is None


def test_a_jobs_metadata_can_be_deleted(client: Client, job_id: str) -> None:
    start_query(client, "SELECT 1", job_id).result()
    client.delete_job_metadata(job_id, location="US")
    with pytest.raises(exceptions.NotFound):
        client.get_job(job_id)


def test_a_job_lives_in_its_location(client: Client, job_id: str) -> None:
    client.query("SELECT 1", job_id=job_id, location="EU", job_retry=None).result()
    assert client.get_job(job_id, location="EU").location == "EU"
    with pytest.raises(exceptions.NotFound):
        client.get_job(job_id, location="US")
    start_query(client, "SELECT 2", job_id).result()


def test_a_job_in_another_location_than_its_data_is_404(
    client: Client, dataset: str, make: Make
) -> None:
    table = make([("a", "STRING")])
    config = bigquery.QueryJobConfig(default_dataset=bigquery.DatasetReference.from_string(dataset))
    with pytest.raises(exceptions.NotFound):
        client.query(f"SELECT * FROM {table.table_id}", location="EU", job_config=config).result()


def test_jobs_query_runs_the_same_request_once(client: Client, make: Make, ask: Ask) -> None:
    table = make([("a", "INTEGER")])
    body = {
        "query": f"INSERT INTO `{table.reference}` VALUES (1)",
        "useLegacySql": False,
        "requestId": uuid.uuid4().hex,
        "location": "US",
    }
    path = f"/projects/{client.project}/queries"
    responses = [
        client._connection.api_request(method="POST", path=path, data=body) for _ in range(2)
    ]
    assert responses[0]["jobReference"] == responses[1]["jobReference"]
    assert responses[0]["numDmlAffectedRows"] == "1"
    assert ask(f"SELECT COUNT(*) FROM `{table.reference}`") == [(1,)]


@pytest.mark.parametrize("mode", ["JOB_CREATION_REQUIRED", "JOB_CREATION_OPTIONAL"])
def test_a_query_responds_in_either_creation_mode(client: Client, mode: str) -> None:
    client.default_job_creation_mode = mode
    try:
        assert [row["a"] for row in client.query_and_wait("SELECT 1 AS a")] == [1]
    finally:
        client.default_job_creation_mode = None


def test_a_job_id_of_bad_characters_is_400(client: Client) -> None:
    with pytest.raises(exceptions.BadRequest):
        start_query(client, "SELECT 1", "has spaces and $")
