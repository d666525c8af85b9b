"""Read many rows of a project: estimate the cost first, then read in columns.

The result of a query is read through the BigQuery Storage Read API if the caller may open a
session, else in pages of the REST API. Both return Arrow batches, so memory holds only a few.
https://cloud.google.com/bigquery/docs/reference/storage
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from google.api_core import exceptions as google_errors
from google.cloud import bigquery

from convergence.errors import WarehouseError
from convergence.metering import Resource, Use, record_usage
from convergence.warehouse.bigquery_errors import translated_errors
from convergence.warehouse.client import Warehouse
from convergence.warehouse.names import labels
from convergence.warehouse.params import Param, query_parameters
from convergence.warehouse.query import Identifiers, render

if TYPE_CHECKING:
    import pyarrow as pa
    from google.cloud.bigquery.table import RowIterator
    from google.cloud.bigquery_storage import BigQueryReadClient
    from google.cloud.bigquery_storage_v1.types import ReadSession

log = logging.getLogger(__name__)

PAGE_ROWS: Final = 2_000
"""Rows of one REST page: JSON, which takes some 20 KB of memory for a row of many columns. A
result that fits on one page is read so in any case."""
_BATCHES_AHEAD: Final = 2


@dataclass(frozen=True, slots=True)
class BulkQuery:
    """A SELECT with many rows.

    Attributes:
        path: its SQL file.
        identifiers: for its Jinja.
        params: for its `@names`.
    """

    path: Path
    identifiers: Identifiers
    params: Mapping[str, Param]

    def config(self, w: Warehouse, *, dry_run: bool) -> bigquery.QueryJobConfig:
        """Return the configuration of the job. A dry run has no limit, since it bills nothing."""
        config = bigquery.QueryJobConfig(
            dry_run=dry_run,
            query_parameters=query_parameters(self.params),
            use_legacy_sql=False,
            use_query_cache=not dry_run,
            labels=labels({"sql": self.path.stem}),
        )
        if not dry_run:
            config.maximum_bytes_billed = w.max_bytes_billed
        return config


def estimate_bytes(w: Warehouse, reading: BulkQuery) -> int:
    """Return the bytes that the query would read; the estimate is free.

    Raises:
        WarehouseError: BigQuery rejects the query.
        WarehouseUnavailableError: BigQuery is temporarily unavailable.
    """
    sql, config = render(w, reading.path, reading.identifiers), reading.config(w, dry_run=True)
    with translated_errors("estimating a query", sql=reading.path.name):
        job = w.client.query(sql, job_config=config, location=w.location, job_retry=None, **w.call)
    return int(job.total_bytes_processed or 0)


def read_batches(
    w: Warehouse, reading: BulkQuery, *, storage: BigQueryReadClient | None = None
) -> Iterator[pa.RecordBatch]:
    """Yield the rows of the query in columns, batch by batch.

    Args:
        w: the project whose client runs the query; `max_bytes_billed` is the most it may read.
        reading: the query.
        storage: reads the result over gRPC; without one, or where it may not, REST pages do.

    Raises:
        WarehouseError: the query would read more than the limit and was not run, or BigQuery
            rejects it.
        WarehouseUnavailableError: a temporary failure, after every retry.
    """
    size = estimate_bytes(w, reading)
    if size > w.max_bytes_billed:
        raise WarehouseError(
            "The query would read more than max_bytes_billed allows; it was not run",
            sql=reading.path.name,
            would_read_bytes=size,
            max_bytes_billed=w.max_bytes_billed,
        )
    log.info("%s reads %d bytes", reading.path.name, size)
    job = _start_query(w, reading)
    # The project that runs it pays for it: to us it is a call of the provider.
    record_usage(Resource.PROVIDER, Use(calls=1))
    with translated_errors("reading rows", sql=reading.path.name, job_id=job.job_id):
        rows = _wait_for_result(w, job)
        session = None
        if storage is not None and (rows.total_rows or 0) > PAGE_ROWS:
            session = _open_session(w, job, storage)
        if storage is not None and session is not None:
            yield from _read_stream(w, storage, session)
        else:
            yield from rows.to_arrow_iterable(max_queue_size=_BATCHES_AHEAD)


def _start_query(w: Warehouse, reading: BulkQuery) -> bigquery.QueryJob:
    sql, config = render(w, reading.path, reading.identifiers), reading.config(w, dry_run=False)
    with translated_errors("starting a query", sql=reading.path.name):
        return w.client.query(sql, job_config=config, location=w.location, job_retry=None, **w.call)


def _wait_for_result(w: Warehouse, job: bigquery.QueryJob) -> RowIterator:
    with w.under_way(job):
        try:
            return job.result(
                page_size=PAGE_ROWS, retry=w.retry, timeout=w.timeouts.job, job_retry=None
            )
        except TimeoutError:
            w.cancel(job)
            raise


def _open_session(
    w: Warehouse, job: bigquery.QueryJob, storage: BigQueryReadClient
) -> ReadSession | None:
    """Open a session on the table with the query's rows; None if the caller has no right to."""
    from google.cloud.bigquery_storage_v1.types import DataFormat, ReadSession

    if job.destination is None:
        return None
    session = ReadSession(table=job.destination.to_bqstorage(), data_format=DataFormat.ARROW)
    try:
        return storage.create_read_session(
            parent=f"projects/{w.project}",
            read_session=session,
            max_stream_count=1,
            timeout=w.timeouts.call,
        )
    except google_errors.Forbidden:
        log.info("no right to open a read session; reading pages instead")
        return None


def _read_stream(
    w: Warehouse, storage: BigQueryReadClient, session: ReadSession
) -> Iterator[pa.RecordBatch]:
    """Yield the batches of the stream; the client resumes a broken stream at its last message."""
    import pyarrow as pa

    schema = pa.ipc.read_schema(pa.py_buffer(session.arrow_schema.serialized_schema))
    for stream in session.streams:
        for message in storage.read_rows(stream.name, timeout=w.timeouts.job):
            packed = message.arrow_record_batch.serialized_record_batch
            yield pa.ipc.read_record_batch(pa.py_buffer(packed), schema)
