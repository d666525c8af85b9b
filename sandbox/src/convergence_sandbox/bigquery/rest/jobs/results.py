"""Results of queries that no one gave a destination, kept for a while to be paged through."""

from __future__ import annotations

import threading
from collections import OrderedDict

from convergence_sandbox.bigquery.rest.jobs.job import JobKey
from convergence_sandbox.bigquery.rows.result import QueryResult

MAX_CELLS = 4_000_000


class Results:
    """The newest results, oldest dropped first; one alone may be larger than the room."""

    def __init__(self, *, max_cells: int = MAX_CELLS) -> None:
        self._lock = threading.Lock()
        self._max_cells = max_cells
        self._kept: OrderedDict[JobKey, QueryResult] = OrderedDict()
        self._cells = 0

    def keep(self, key: JobKey, result: QueryResult) -> None:
        """Keep the result of a job that has just ended."""
        with self._lock:
            self._kept[key] = result
            self._cells += _cells(result)
            while self._cells > self._max_cells and len(self._kept) > 1:
                _, dropped = self._kept.popitem(last=False)
                self._cells -= _cells(dropped)

    def get(self, key: JobKey) -> QueryResult | None:
        """Return the job's result, or None when it is gone."""
        with self._lock:
            result = self._kept.get(key)
            if result is not None:
                self._kept.move_to_end(key)
            return result

    def drop(self, key: JobKey) -> None:
        """Forget a job's result."""
        with self._lock:
            result = self._kept.pop(key, None)
            if result is not None:
                self._cells -= _cells(result)


def _cells(result: QueryResult) -> int:
    # A result without columns or rows still takes a place.
    return 16 + result.row_count * max(1, len(result.schema.fields))
