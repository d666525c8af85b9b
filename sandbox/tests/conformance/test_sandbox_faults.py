"""Faults and quotas on request, and data that outlives a kill: what the product's tests lean on."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from google.api_core import exceptions
from google.cloud import bigquery

from conformance.client import Client, Make, connect
from support.sandbox_process import SandboxProcess


@pytest.fixture(autouse=True)
def _healthy_afterwards(sandbox: SandboxProcess) -> Iterator[None]:
    yield
    sandbox.admin("DELETE", "faults")
    sandbox.admin("PATCH", "limits", {"dml_queue": 0, "load_jobs_per_table_day": 0})


def test_a_status_on_request_is_retried_by_the_client(
    sandbox: SandboxProcess, client: Client, dataset: str
) -> None:
    fault = {"match": {"method": "GET", "path_regex": "/datasets/"}, "action": "status"}
    sandbox.admin("POST", "faults", {**fault, "status": 503, "reason": "backendError"})
    with pytest.raises(exceptions.ServiceUnavailable):
        client.get_dataset(dataset, retry=None)
    sandbox.admin("POST", "faults", {**fault, "status": 403, "reason": "accessDenied"})
    with pytest.raises(exceptions.Forbidden) as caught:
        client.get_dataset(dataset)
    assert caught.value.errors[0]["reason"] == "accessDenied"
    sandbox.admin("POST", "faults", fault)
    assert client.get_dataset(dataset).dataset_id == dataset.rpartition(".")[2]
    assert sandbox.admin("GET", "faults").json() == {"faults": []}


def test_a_lost_response_leaves_the_work_done(
    sandbox: SandboxProcess, client: Client, make: Make, job_id: str
) -> None:
    table = make([("a", "STRING")])
    sandbox.admin(
        "POST",
        "faults",
        {"match": {"method": "POST", "path_regex": "uploadType=multipart"}, "action": "drop_reply"},
    )
    config = bigquery.LoadJobConfig(schema=table.schema)
    # The client sends the job again and gets a conflict, since the job exists.
    with pytest.raises(exceptions.Conflict):
        client.load_table_from_json([{"a": "x"}], table, job_id=job_id, job_config=config)
    assert client.get_job(job_id).result().output_rows == 1
    assert client.get_table(table).num_rows == 1


def test_a_job_fails_on_request_and_leaves_nothing(
    sandbox: SandboxProcess, client: Client, make: Make
) -> None:
    table = make([("a", "STRING")])
    sandbox.admin(
        "POST",
        "faults",
        {
            "match": {"job": "load", "table_regex": table.table_id},
            "action": "fail_job",
            "reason": "backendError",
            "message": "on purpose",
            "count": 2,
        },
    )
    config = bigquery.LoadJobConfig(schema=table.schema)
    for _ in range(2):
        with pytest.raises(exceptions.GoogleAPICallError, match="on purpose"):
            client.load_table_from_json([{"a": "x"}], table, job_config=config).result()
    assert client.get_table(table).num_rows == 0
    client.load_table_from_json([{"a": "x"}], table, job_config=config).result()


def test_a_fault_that_makes_no_sense_is_rejected(sandbox: SandboxProcess) -> None:
    for fault in (
        {"action": "explode"},
        {"action": "status", "match": {"path_regex": "("}},
        {"action": "status", "when": "later"},
    ):
        with pytest.raises(Exception, match=r"400|501"):
            sandbox.admin("POST", "faults", fault)


def test_the_queue_of_mutations_is_limited_when_requested(
    sandbox: SandboxProcess, client: Client, make: Make
) -> None:
    table = make([("id", "INTEGER"), ("n", "INTEGER")], "(1, 0)")
    sandbox.admin("PATCH", "limits", {"dml_queue": 3})
    sandbox.admin(
        "POST",
        "faults",
        {
            "match": {"query_regex": table.table_id},
            "action": "hold_job",
            "seconds": 0.4,
            "count": 9,
        },
    )
    sql = f"UPDATE `{table.reference}` SET n = n + 1 WHERE id = 1"

    def run(_: int) -> str:
        try:
            client.query(sql, job_retry=None).result()
        except exceptions.BadRequest as error:
            return str(error.errors[0]["reason"])
        return "done"

    with ThreadPoolExecutor(9) as pool:
        outcomes = list(pool.map(run, range(9)))
    assert set(outcomes) == {"done", "resourcesExceeded"}
    assert outcomes.count("done") >= 3
    [row] = client.list_rows(table)
    assert row["n"] == outcomes.count("done")
    assert [run(0) for _ in range(5)] == ["done"] * 5


def test_load_jobs_per_table_and_day_are_limited_when_requested(
    sandbox: SandboxProcess, client: Client, make: Make
) -> None:
    table = make([("a", "STRING")])
    sandbox.admin("PATCH", "limits", {"load_jobs_per_table_day": 2})
    config = bigquery.LoadJobConfig(schema=table.schema)
    for _ in range(2):
        client.load_table_from_json([{"a": "x"}], table, job_config=config).result()
    with pytest.raises(exceptions.Forbidden) as caught:
        client.load_table_from_json([{"a": "x"}], table, job_config=config).result()
    assert caught.value.errors[0]["reason"] == "quotaExceeded"


@pytest.fixture
def fresh_sandbox(tmp_path: Path) -> Iterator[SandboxProcess]:
    process = SandboxProcess(tmp_path / "data")
    process.start()
    yield process
    process.stop()


def prepare(url: str) -> tuple[Client, bigquery.Table]:
    client = connect(url)
    client.create_dataset("d")
    table = bigquery.Table(f"{client.project}.d.t", schema=[bigquery.SchemaField("a", "STRING")])
    return client, client.create_table(table)


def test_a_kill_loses_no_acknowledged_write(fresh_sandbox: SandboxProcess) -> None:
    client, table = prepare(fresh_sandbox.bigquery)
    config = bigquery.LoadJobConfig(schema=table.schema, labels={"kept": "yes"})
    rows = [{"a": "x"}]
    client.load_table_from_json(rows, table, job_id="load_1", job_config=config).result()
    with pytest.raises(exceptions.BadRequest):
        client.query("SELECT 1/0", job_id="failed_1", job_retry=None).result()
    client.query(f"INSERT INTO `{table.reference}` VALUES ('y')").result()
    assert client.insert_rows_json(table, [{"a": "z"}], row_ids=["1"]) == []
    fresh_sandbox.kill()
    fresh_sandbox.start()
    assert sorted(row["a"] for row in client.list_rows(table)) == ["x", "y", "z"]
    job = client.get_job("load_1")
    assert (job.state, job.output_rows, job.labels) == ("DONE", 1, {"kept": "yes"})
    for used in ("load_1", "failed_1"):
        with pytest.raises(exceptions.Conflict):
            client.query("SELECT 1", job_id=used, job_retry=None)
    assert client.get_job("failed_1").error_result["reason"] == "invalidQuery"
    client.close()


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["before the commit", "after the commit"])
def test_a_job_that_a_kill_cut_off_is_done_once(fresh_sandbox: SandboxProcess, moment: str) -> None:
    client, table = prepare(fresh_sandbox.bigquery)
    if moment == "before the commit":
        fault = {"match": {"job": "load"}, "action": "hold_job", "seconds": 30}
    else:
        fault = {"match": {"job": "load"}, "action": "kill_before_done"}
    fresh_sandbox.admin("POST", "faults", fault)
    config = bigquery.LoadJobConfig(schema=table.schema)
    with ThreadPoolExecutor(1) as pool:
        sent = pool.submit(
            client.load_table_from_json,
            [{"a": "x"}, {"a": "y"}],
            table,
            job_id="cut",
            job_config=config,
            num_retries=0,
        )
        if moment == "before the commit":
            time.sleep(0.5)
        else:
            fresh_sandbox.wait()
        fresh_sandbox.kill()
        fresh_sandbox.start()
        sent.exception()
    job = client.get_job("cut").result()
    assert (job.state, job.output_rows) == ("DONE", 2)
    assert client.get_table(table).num_rows == 2
    client.close()


@pytest.mark.slow
def test_kills_at_any_moment_lose_and_double_nothing(fresh_sandbox: SandboxProcess) -> None:
    setup, table = prepare(fresh_sandbox.bigquery)
    config = bigquery.LoadJobConfig(schema=table.schema)
    over = threading.Event()

    def write(who: int) -> list[str]:
        """Load one row after the other, as a publisher does: a 409 means to wait for that job."""
        client = connect(fresh_sandbox.bigquery)
        done: list[str] = []
        while not over.is_set():
            one = f"row_{who}_{len(done)}"
            try:
                client.load_table_from_json(
                    [{"a": one}], table, job_id=one, job_config=config
                ).result()
            except exceptions.Conflict:
                client.get_job(one).result()
            done.append(one)
        client.close()
        return done

    with ThreadPoolExecutor(3) as pool:
        writers = [pool.submit(write, who) for who in range(3)]
        for pause in (0.4, 1.9):
            time.sleep(pause)
            fresh_sandbox.kill()
            fresh_sandbox.start()
        time.sleep(1.5)
        over.set()
        written = sorted(one for writer in writers for one in writer.result())
    assert sorted(row["a"] for row in setup.list_rows(table)) == written
    setup.close()


def test_it_stops_at_once_on_sigterm(fresh_sandbox: SandboxProcess) -> None:
    client, table = prepare(fresh_sandbox.bigquery)
    assert list(client.list_rows(table)) == []
    began = time.monotonic()
    assert fresh_sandbox.stop() == 0
    assert time.monotonic() - began < 5
    fresh_sandbox.start()
    assert client.get_table(table).table_id == "t"
    client.close()


def test_a_second_sandbox_on_the_same_data_is_rejected(
    fresh_sandbox: SandboxProcess, tmp_path: Path
) -> None:
    second = SandboxProcess(tmp_path / "data")
    with pytest.raises(RuntimeError, match="another sandbox is using"):
        second.start()


def test_a_busy_port_is_named(fresh_sandbox: SandboxProcess, tmp_path: Path) -> None:
    port = fresh_sandbox.bigquery.rpartition(":")[2]
    second = SandboxProcess(tmp_path / "other", environment={"SANDBOX_BIGQUERY_PORT": port})
    with pytest.raises(RuntimeError, match=f"SANDBOX_BIGQUERY_PORT={port}"):
        second.start()


def test_results_survive_in_their_destination(fresh_sandbox: SandboxProcess) -> None:
    client, _ = prepare(fresh_sandbox.bigquery)
    config = bigquery.QueryJobConfig(destination=f"{client.project}.d.out")
    client.query("SELECT 1 AS a", job_id="out", job_config=config, job_retry=None).result()
    fresh_sandbox.kill()
    fresh_sandbox.start()
    assert [row["a"] for row in client.get_job("out").result()] == [1]
    client.close()
