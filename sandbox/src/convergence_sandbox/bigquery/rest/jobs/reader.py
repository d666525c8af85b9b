"""Pages of rows, from a kept result or from the table a query wrote."""

from __future__ import annotations

from dataclasses import dataclass

from convergence_sandbox.bigquery.engine import Engine
from convergence_sandbox.bigquery.errors import not_found
from convergence_sandbox.bigquery.resources.model import TableRef
from convergence_sandbox.bigquery.rest.jobs.job import Job
from convergence_sandbox.bigquery.rest.jobs.results import Results
from convergence_sandbox.bigquery.rest.wire import Json

# BigQuery ends a page at 10 to 20 MB of JSON; cells are what can be counted cheaply here.
MAX_PAGE_CELLS = 250_000


@dataclass(frozen=True)
class Page:
    """Which rows: `size` None is as many as fit."""

    start: int = 0
    size: int | None = None
    int64_timestamps: bool = False

    def rows_of(self, columns: int) -> int:
        """Return how many rows of so many columns this page may hold."""
        maximum = max(1, MAX_PAGE_CELLS // max(1, columns))
        return maximum if self.size is None else min(self.size, maximum)


class ResultReader:
    """Reads the rows of a query job that went well."""

    def __init__(self, engine: Engine, *, results: Results) -> None:
        self._engine = engine
        self._results = results

    def read(self, job: Job, page: Page) -> tuple[Json, list[Json], int]:
        """Schema, rows and the number of rows in all.

        Raises:
            BigQueryError: 404 when the result is no longer kept.
        """
        result = self._results.get(job.key)
        if result is None:
            return self._from_destination(job, page)
        size = page.rows_of(len(result.schema.fields))
        rows = result.rows(page.start, size, int64_timestamps=page.int64_timestamps)
        return result.schema.to_rest(), rows, result.row_count

    def _from_destination(self, job: Job, page: Page) -> tuple[Json, list[Json], int]:
        """Return the rows from the destination table of the query.

        Raises:
            BigQueryError: 404 without a destination: results alone are kept in memory, a while.
        """
        target = job.configuration["query"].get("destinationTable")
        if not target:
            raise not_found("Table", f"of the results of job {job.key}; run the query again")
        table = TableRef.from_rest({"projectId": job.key.project, **target})
        whole = TableRef(table.project, table.dataset, table.table.partition("$")[0])
        schema = self._engine.get_table(whole).schema
        rows, total = self._engine.read_table(
            table,
            start=page.start,
            max_results=page.rows_of(len(schema.fields)),
            int64_timestamps=page.int64_timestamps,
        )
        return schema.to_rest(), rows, total
