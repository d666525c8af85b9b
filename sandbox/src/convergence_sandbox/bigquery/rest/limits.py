"""BigQuery's quotas that shape a design, off unless requested.

https://cloud.google.com/bigquery/quotas: about 20 mutating statements wait on one table, and a
table takes 1,500 load jobs a day.
"""

from __future__ import annotations

import re
import threading
from collections import Counter
from dataclasses import dataclass
from datetime import date

from convergence_sandbox.bigquery.errors import BigQueryError, invalid
from convergence_sandbox.bigquery.resources.model import TableRef
from convergence_sandbox.bigquery.rest.wire import Json, reject_unknown

_COMMENT = re.compile(r"--[^\n]*|#[^\n]*|/\*.*?\*/", re.DOTALL)
_MUTATION = re.compile(
    r"\s*(?:UPDATE|DELETE(?:\s+FROM)?|MERGE(?:\s+INTO)?)\s+((?:`[^`]+`|[\w-]+)(?:\.(?:`[^`]+`|[\w-]+))*)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class LimitSettings:
    """How many; 0 is no limit."""

    dml_queue: int = 0
    load_jobs_per_table_day: int = 0

    def with_changes(self, changes: Json) -> LimitSettings:
        """Return the settings after an admin's change, checked."""
        reject_unknown(changes, ("dml_queue", "load_jobs_per_table_day"), where="limits")
        for name, value in changes.items():
            if not isinstance(value, int) or isinstance(value, bool) or value < 0:
                raise invalid(f"{name} must be a non-negative integer, not {value!r}.")
        return LimitSettings(**{**self.__dict__, **changes})


class Limits:
    """Counts what is limited, in memory: a restart begins a new day."""

    def __init__(self, settings: LimitSettings) -> None:
        self.settings = settings
        self._lock = threading.Lock()
        self._waiting: Counter[str] = Counter()
        self._loads: Counter[tuple[str, date]] = Counter()

    def enter(self, table: str | None) -> None:
        """Take a place in the table's queue of mutating statements, until `leave`.

        Raises:
            BigQueryError: 400 `resourcesExceeded` when the queue is full.
        """
        if table is None:
            return
        with self._lock:
            limit = self.settings.dml_queue
            if limit and self._waiting[table] >= limit:
                raise _too_many_statements(table, limit)
            self._waiting[table] += 1

    def leave(self, table: str | None) -> None:
        """Give the place back."""
        if table is not None:
            with self._lock:
                self._waiting[table] -= 1

    def count_load(self, table: TableRef, *, day: date) -> None:
        """Count a load job, failed or not, against the table's day.

        Raises:
            BigQueryError: 403 `quotaExceeded` when the day is used up.
        """
        whole = str(table).partition("$")[0]
        with self._lock:
            self._loads[whole, day] += 1
            limit = self.settings.load_jobs_per_table_day
            if limit and self._loads[whole, day] > limit:
                raise _too_many_loads()


def mutated_table(sql: str, *, project: str, dataset: str | None) -> str | None:
    """Return the table a single UPDATE, DELETE or MERGE changes, as `project:dataset.table`."""
    match = _MUTATION.match(_COMMENT.sub(" ", sql))
    if match is None:
        return None
    parts = match[1].replace("`", "").split(".")
    if len(parts) == 1:
        parts = [dataset or "", *parts]
    *head, owner, table = parts
    return f"{'.'.join(head) or project}:{owner}.{table}"


def _too_many_statements(table: str, limit: int) -> BigQueryError:
    return BigQueryError(
        "Resources exceeded during query execution: Too many DML statements outstanding against"
        f" table {table}, limit is {limit}.",
        status=400,
        reason="resourcesExceeded",
    )


def _too_many_loads() -> BigQueryError:
    return BigQueryError(
        "Quota exceeded: Your table exceeded quota for imports or query appends per table.",
        status=403,
        reason="quotaExceeded",
        location="load_job_per_table.long",
    )
