"""The way to BigQuery: one client, its timeouts, its price limit, and the jobs under way."""

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
"""What one query may bill unless its caller says otherwise: 50 GiB, about 0.30 USD on demand."""

SQL_ROOT: Final = PROJECT_ROOT / "include" / "configs" / "system" / "sql"


@dataclass(frozen=True, slots=True)
class WarehouseTimeouts:
    """How long to wait, in seconds. The client's own defaults go on for ten minutes.

    Attributes:
        call: one HTTP request.
        retry: all tries of one HTTP request.
        query: a query whose rows are wanted now.
        job: a load or a query that fills a partition.
        poll: the longest pause between two looks at a job.
        report: the pause between two log lines about a job that goes on.
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
    """One BigQuery project, seen through the official client.

    Tasks hand in the client that Airflow's BigQueryHook gives; the API calls `connect`.
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
        """The warehouse that the environment names, or the stand-in it points at."""
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
        """The folder of configurations, which the names of shared SQL files begin in."""
        return self._sql_root.parents[1]

    def sql(self, name: str) -> Path:
        """The path of one of the product's own SQL files, such as `ledger/latest.sql`."""
        return self._sql_root / name

    def path_of(self, table: TableName) -> str:
        """`project.dataset.table`."""
        return f"{self.project}.{table.dataset}.{table.table}"

    def reference(
        self, table: TableName, *, partition: str | None = None
    ) -> bigquery.TableReference:
        """The client's reference to a table, or to one partition of it by decorator."""
        name = f"{table.table}${partition}" if partition else table.table
        dataset = bigquery.DatasetReference(self.project, table.dataset)
        return bigquery.TableReference(dataset, name)

    @property
    def retry(self) -> Retry:
        """Bounded tries of one HTTP request."""
        return Retry(
            predicate=is_worth_a_call,
            initial=0.2,
            maximum=8.0,
            multiplier=2.0,
            timeout=self.timeouts.retry,
        )

    @property
    def call(self) -> dict[str, Any]:
        """`retry` and `timeout` for any call of the client."""
        return {"retry": self.retry, "timeout": self.timeouts.call}

    @contextmanager
    def under_way(self, job: Job) -> Iterator[None]:
        """Let `cancel_jobs` reach a job for as long as somebody waits for it."""
        with self._jobs_lock:
            self._jobs.add(job)
        try:
            yield
        finally:
            with self._jobs_lock:
                self._jobs.discard(job)

    def cancel_jobs(self) -> list[str]:
        """Ask BigQuery to stop every job that some thread of this process waits for.

        For an operator's `on_kill`. A stop that fails is logged: the task ends in any case, and
        a job that ends after all is found by its id on the next attempt.
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
