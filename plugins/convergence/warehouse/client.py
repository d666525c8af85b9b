"""The connection to BigQuery: one client with its timeouts, billing limit and running jobs."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self, TypeAlias

from google.api_core.client_options import ClientOptions
from google.api_core.retry import Retry
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from convergence.settings import PROJECT_ROOT, Settings
from convergence.warehouse.bigquery_errors import EDGE_ERRORS, is_worth_a_call
from convergence.warehouse.names import TableName, check_project

log = logging.getLogger(__name__)

Job: TypeAlias = bigquery.LoadJob | bigquery.QueryJob

DEFAULT_MAX_BYTES: Final = 50 * 1024**3
"""Default limit of the bytes that one query may bill: 50 GiB, about 0.30 USD on demand."""

SQL_ROOT: Final = PROJECT_ROOT / "include" / "configs" / "system" / "sql"


@dataclass(frozen=True, slots=True)
class WarehouseTimeouts:
    """Timeouts in seconds. The client's own defaults retry for ten minutes.

    Attributes:
        call: of one HTTP request.
        retry: of all attempts at one HTTP request.
        query: of a query whose rows the caller waits for.
        job: of a load or a query that fills a partition.
        poll: the longest pause between two reads of a job's state.
        report: the pause between two log lines about a running job.
    """

    call: float = 30.0
    retry: float = 60.0
    query: float = 300.0
    job: float = 1800.0
    poll: float = 5.0
    report: float = 30.0
    clock: Callable[[], float] = field(default=time.monotonic, repr=False)
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)


class Warehouse:
    """One BigQuery project, reached with the official client.

    Tasks pass the client of Airflow's BigQueryHook; the API calls `connect`.
    """

    def __init__(
        self,
        client: bigquery.Client,
        *,
        location: str,
        max_bytes_billed: int = DEFAULT_MAX_BYTES,
        timeouts: WarehouseTimeouts | None = None,
        sql_root: Path = SQL_ROOT,
    ) -> None:
        self.client = client
        self.project = check_project(client.project)
        self.location = location
        self.max_bytes_billed = max_bytes_billed
        self.timeouts = timeouts or WarehouseTimeouts()
        self._sql_root = sql_root
        self._jobs: set[Job] = set()
        self._jobs_lock = threading.Lock()

    @classmethod
    def connect(cls, settings: Settings, *, timeouts: WarehouseTimeouts | None = None) -> Self:
        """Connect to the project that the settings name, or to the stand-in that they point at."""
        options: dict[str, Any] = {}
        if settings.bigquery_emulator_host:
            options["credentials"] = AnonymousCredentials()
            options["client_options"] = ClientOptions(api_endpoint=settings.bigquery_emulator_host)
        client = bigquery.Client(
            project=settings.gcp_project_id, location=settings.bigquery_location, **options
        )
        return cls(
            client,
            location=settings.bigquery_location,
            timeouts=timeouts,
            sql_root=settings.configs_dir / "system" / "sql",
        )

    @property
    def configs_dir(self) -> Path:
        """Return the folder of configurations; names of shared SQL files are relative to it."""
        return self._sql_root.parents[1]

    def sql(self, name: str) -> Path:
        """Return the path of one of the product's SQL files, such as `ledger/latest.sql`."""
        return self._sql_root / name

    def path_of(self, table: TableName) -> str:
        """Return `project.dataset.table`."""
        return f"{self.project}.{table.dataset}.{table.table}"

    def reference(
        self, table: TableName, *, partition: str | None = None
    ) -> bigquery.TableReference:
        """Return the client's reference to a table, or to one of its partitions by decorator."""
        name = f"{table.table}${partition}" if partition else table.table
        dataset = bigquery.DatasetReference(self.project, table.dataset)
        return bigquery.TableReference(dataset, name)

    @property
    def retry(self) -> Retry:
        """Return the bounded retries of one HTTP request."""
        return Retry(
            predicate=is_worth_a_call,
            initial=0.2,
            maximum=8.0,
            multiplier=2.0,
            timeout=self.timeouts.retry,
        )

    @property
    def call(self) -> dict[str, Any]:
        """Return `retry` and `timeout` for a call of the client."""
        return {"retry": self.retry, "timeout": self.timeouts.call}

    @contextmanager
    def under_way(self, job: Job) -> Iterator[None]:
        """Register a job for `cancel_jobs` while the caller waits for it."""
        with self._jobs_lock:
            self._jobs.add(job)
        try:
            yield
        finally:
            with self._jobs_lock:
                self._jobs.discard(job)

    def cancel_jobs(self) -> list[str]:
        """Ask BigQuery to stop every job that a thread of this process waits for.

        For an operator's `on_kill`. A failed cancellation is only logged: the task ends anyway,
        and the next attempt finds a job that has finished by its id.
        """
        with self._jobs_lock:
            jobs = list(self._jobs)
        for job in jobs:
            self.cancel(job)
        return [job.job_id for job in jobs]

    def cancel(self, job: Job) -> None:
        """Ask BigQuery to stop one job."""
        try:
            job.cancel(retry=self.retry.with_timeout(self.timeouts.call), timeout=10.0)
        except EDGE_ERRORS as error:
            log.warning("Job %s could not be cancelled: %s", job.job_id, error)
