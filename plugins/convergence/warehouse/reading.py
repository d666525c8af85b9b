"""Rows out of a project at volume: estimated before they are read, and read in columns.

A query's result is fetched through the BigQuery Storage Read API where the caller may open a
session, and in pages of the REST API where not; both come as Arrow batches, so memory holds a few.
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
from convergence.warehouse.client import Warehouse
from convergence.warehouse.faults import translated
from convergence.warehouse.names import labels
from convergence.warehouse.params import Param, query_parameters
from convergence.warehouse.query import Identifiers, render

if TYPE_CHECKING:
    import pyarrow as pa
    from google.cloud.bigquery.table import RowIterator
    from google.cloud.bigquery_storage import BigQueryReadClient

log = logging.getLogger(__name__)

PAGE_ROWS: Final = 10_000
"""Rows of one REST page."""
_BATCHES_AHEAD: Final = 2


@dataclass(frozen=True, slots=True)
class Reading:
    """A SELECT to be read at volume.

    Attributes:
        path: its SQL file.
        identifiers: for its Jinja.
        params: for its `@names`.
    """

    path: Path
    identifiers: Identifiers
    params: Mapping[str, Param]

    def config(self, w: Warehouse, *, dry_run: bool) -> bigquery.QueryJobConfig:
        """How the job runs. A dry run has no cap: what it would bill is what is asked."""
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


def estimate(w: Warehouse, reading: Reading) -> int:
    """Bytes that the query would read; asking costs nothing.

    Raises:
        WarehouseError: BigQuery refuses the query.
        WarehouseUnavailableError: it does not answer.
    """
    sql, config = render(w, reading.path, reading.identifiers), reading.config(w, dry_run=True)
    with translated("estimating a query", sql=reading.path.name):
        job = w.client.query(sql, job_config=config, location=w.location, job_retry=None, **w.call)
    return int(job.total_bytes_processed or 0)


def read_batches(
    w: Warehouse, reading: Reading, *, storage: BigQueryReadClient | None = None
) -> Iterator[pa.RecordBatch]:
    """The query's rows in columns, a batch at a time.

    Args:
        w: the project whose client runs the query; `max_bytes_billed` is the most it may read.
        reading: the query.
        storage: reads the result over gRPC; without one, or where it may not, REST pages do.

    Raises:
        WarehouseError: it would read more than the cap, with both figures, and was not run; or
            BigQuery refuses it.
        WarehouseUnavailableError: passing reasons, beyond our patience.
    """
    size = estimate(w, reading)
    if size > w.max_bytes_billed:
        raise WarehouseError(
            "The query would read more than max_bytes_billed allows; it was not run",
            sql=reading.path.name,
            would_read_bytes=size,
            max_bytes_billed=w.max_bytes_billed,
        )
    log.info("%s reads %d bytes", reading.path.name, size)
    rows = _started(w, reading)
    with translated("reading rows", sql=reading.path.name):
        if storage is None:
            yield from rows.to_arrow_iterable(max_queue_size=_BATCHES_AHEAD)
        else:
            yield from _streamed(w, reading, rows, storage)


def _streamed(
    w: Warehouse, reading: Reading, rows: RowIterator, storage: BigQueryReadClient
) -> Iterator[pa.RecordBatch]:
    came = False
    try:
        for batch in rows.to_arrow_iterable(
            bqstorage_client=storage, max_queue_size=_BATCHES_AHEAD, max_stream_count=1
        ):
            came = True
            yield batch
    except google_errors.Forbidden:
        if came:
            raise
        log.info("no right to open a read session; reading pages instead")
        yield from _started(w, reading).to_arrow_iterable(max_queue_size=_BATCHES_AHEAD)


def _started(w: Warehouse, reading: Reading) -> RowIterator:
    sql, config = render(w, reading.path, reading.identifiers), reading.config(w, dry_run=False)
    with translated("starting a query", sql=reading.path.name):
        job = w.client.query(sql, job_config=config, location=w.location, job_retry=None, **w.call)
    with (
        w.under_way(job),
        translated("running a query", sql=reading.path.name, job_id=job.job_id),
    ):
        try:
            return job.result(
                page_size=PAGE_ROWS, retry=w.retry, timeout=w.patience.job, job_retry=None
            )
        except TimeoutError:
            w.cancel(job)
            raise
