"""A job's own statistics are what is counted for it."""

from __future__ import annotations

from typing import Any

from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from convergence.metering import Resource, Use, metered
from convergence.warehouse.client import Job
from convergence.warehouse.counting import count_job

CLIENT = bigquery.Client(project="p", credentials=AnonymousCredentials())
QUERY = {"query": "SELECT 1", "useLegacySql": False}


def job(kind: type[Job], configuration: dict[str, Any], statistics: dict[str, Any]) -> Job:
    return kind.from_api_repr(
        {
            "jobReference": {"projectId": "p", "jobId": "j", "location": "US"},
            "configuration": configuration,
            "statistics": statistics,
            "status": {"state": "DONE"},
        },
        CLIENT,
    )


def test_a_query_counts_what_it_bills_its_slot_time_and_its_rows() -> None:
    told = {
        "query": {
            "totalBytesBilled": "10485760",
            "totalSlotMs": "730",
            "numDmlAffectedRows": "12",
        }
    }
    merge = job(bigquery.QueryJob, {"query": QUERY}, told)
    with metered() as meter:
        count_job(merge)
        count_job(merge, rows=5)
    assert meter.used == {
        Resource.QUERY: Use(calls=2, bytes_billed=20_971_520, slot_ms=1_460, rows_written=17)
    }


def test_a_query_that_failed_before_it_read_anything_counts_as_a_job() -> None:
    with metered() as meter:
        count_job(job(bigquery.QueryJob, {"query": QUERY}, {}))
    assert meter.used == {Resource.QUERY: Use(calls=1)}


def test_a_load_is_free_and_counts_its_rows() -> None:
    table = {"projectId": "p", "datasetId": "d", "tableId": "t"}
    load = job(bigquery.LoadJob, {"load": {"destinationTable": table}}, {"load": {}})
    with metered() as meter:
        count_job(load, rows=9)
    assert meter.used == {Resource.LOAD: Use(calls=1, rows_written=9)}
