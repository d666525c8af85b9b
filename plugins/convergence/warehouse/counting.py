"""Count the cost of a finished job for the org that the process works for."""

from __future__ import annotations

from google.cloud import bigquery

from convergence.metering import Resource, Use, record_usage
from convergence.warehouse.client import Job


def count_job(job: Job, *, rows: int | None = None) -> None:
    """Count a job that this process started and that has ended, successfully or not.

    A job of an earlier attempt was counted by that attempt, or is found by its labels.

    Args:
        job: the ended job, with the statistics of its last reload.
        rows: the written rows; by default the number that the statement reports.
    """
    if isinstance(job, bigquery.QueryJob):
        use = Use(
            calls=1,
            bytes_billed=job.total_bytes_billed or 0,
            slot_ms=job.slot_millis or 0,
            rows_written=(job.num_dml_affected_rows if rows is None else rows) or 0,
        )
        record_usage(Resource.QUERY, use)
    elif isinstance(job, bigquery.LoadJob):
        record_usage(Resource.LOAD, Use(calls=1, rows_written=rows or 0))
