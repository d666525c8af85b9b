"""The edge of google-cloud-bigquery in memory: real job objects, day partitions, a ticking clock.

It knows the calls that publishing makes, and two queries by the name of their SQL file. Anything
may be made to happen at any call: a crash, a fault, another thread's turn.
"""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import IO, Any, cast

from google.api_core import exceptions as google_errors
from google.cloud import bigquery

from convergence.warehouse.client import Warehouse, WarehouseTimeouts

START = datetime(2026, 11, 20, 6, 0, tzinfo=UTC)


class CrashError(BaseException):
    """The process died here; nothing may catch it."""


@dataclass
class Partition:
    rows: list[dict[str, Any]]
    modified_at: datetime
    written_by: str


@dataclass
class Job:
    kind: str
    target: str
    rows: list[dict[str, Any]]
    labels: dict[str, str]
    state: str = "RUNNING"
    started_at: datetime = START
    ended_at: datetime | None = None
    error: dict[str, str] | None = None


@dataclass
class FakeBigQuery:
    """Partitions by `dataset.table$YYYYMMDD`, jobs by id, streamed rows by `dataset.table`."""

    project: str = "test-project"
    location: str = "US"
    partitions: dict[str, Partition] = field(default_factory=dict)
    jobs: dict[str, Job] = field(default_factory=dict)
    streamed: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    missing: set[str] = field(default_factory=set)
    faults: list[dict[str, str]] = field(default_factory=list)
    query_rows: Callable[[str], list[dict[str, Any]]] = lambda _: []
    answers: dict[str, Callable[[Mapping[str, Any]], list[dict[str, Any]]]] = field(
        default_factory=dict
    )
    at: Callable[[str], None] = lambda _: None
    clock: datetime = START
    calls: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._lock = threading.RLock()
        self.answers.setdefault("partition_writes", self._partition_writes)
        self.answers.setdefault("latest", self._latest)

    # --- what the tests do -------------------------------------------------------------------

    def tick(self) -> datetime:
        with self._lock:
            self.clock += timedelta(milliseconds=7)
            return self.clock

    def write(self, partition: str, rows: list[dict[str, Any]], *, by: str = "someone") -> None:
        """Something else writes a partition."""
        self.partitions[partition] = Partition(rows, self.tick(), by)

    def commit_orphans(self) -> None:
        """Jobs that nobody waits for end too."""
        for job_id in [name for name, job in self.jobs.items() if job.state == "RUNNING"]:
            self._commit(job_id)

    # --- the client's calls ------------------------------------------------------------------

    def load_table_from_file(
        self,
        file: IO[bytes],
        target: bigquery.TableReference,
        *,
        job_id: str,
        job_config: bigquery.LoadJobConfig,
        **_: object,
    ) -> bigquery.LoadJob:
        raw = gzip.decompress(file.read()).decode()
        rows = [json.loads(line) for line in raw.splitlines()]
        self._submit("load", job_id, target, rows, dict(job_config.labels))
        return self._load_job(job_id)

    def query(
        self,
        sql: str,
        *,
        job_config: bigquery.QueryJobConfig,
        job_id: str | None = None,
        **_: object,
    ) -> bigquery.QueryJob | _Answer:
        if job_config.destination is not None:
            assert job_id is not None
            rows = self.query_rows(sql)
            labels = dict(job_config.labels)
            self._submit("query", job_id, job_config.destination, rows, labels)
            return self._query_job(job_id)
        name = job_config.labels["sql"]
        self._call(f"query {name}")
        params = {
            param.name: getattr(param, "value", None) or getattr(param, "values", None)
            for param in job_config.query_parameters
        }
        return _Answer(self.answers[name](params))

    def get_job(
        self, job: str | bigquery.LoadJob | bigquery.QueryJob, **_: object
    ) -> bigquery.LoadJob | bigquery.QueryJob:
        job_id = job if isinstance(job, str) else job.job_id
        self._call("get job")
        if job_id not in self.jobs:
            raise google_errors.NotFound(f"Not found: Job {job_id}")
        if self.jobs[job_id].state == "RUNNING":
            self._commit(job_id)
            self._call("job done")
        if self.jobs[job_id].kind == "load":
            return self._load_job(job_id)
        return self._query_job(job_id)

    def insert_rows_json(
        self, table: str, rows: Sequence[dict[str, Any]], *, row_ids: Sequence[str], **_: object
    ) -> list[Any]:
        self._call("insert")
        assert len(row_ids) == len(rows)
        name = table.removeprefix(f"{self.project}.")
        if name in self.missing:
            raise google_errors.NotFound(f"Not found: Table {self.project}:{name}")
        json.dumps(rows)
        self.streamed.setdefault(name, []).extend(dict(row) for row in rows)
        self._call("inserted")
        return []

    # --- inside ------------------------------------------------------------------------------

    def _call(self, name: str) -> None:
        self.calls.append(name)
        self.at(name)

    def _submit(
        self,
        kind: str,
        job_id: str,
        target: bigquery.TableReference,
        rows: list[dict[str, Any]],
        labels: dict[str, str],
    ) -> None:
        self._call("submit")
        with self._lock:
            if job_id in self.jobs:
                raise google_errors.Conflict(f"Already Exists: Job {job_id}")
            name = f"{target.dataset_id}.{target.table_id}"
            self.jobs[job_id] = Job(kind, name, rows, labels, started_at=self.tick())
        self._call("submitted")

    def _commit(self, job_id: str) -> None:
        with self._lock:
            job = self.jobs[job_id]
            if job.state != "RUNNING":
                return
            job.state = "DONE"
            if self.faults:
                job.error = self.faults.pop(0)
            else:
                self.partitions[job.target] = Partition(job.rows, self.tick(), job_id)
            job.ended_at = self.tick()

    def _load_job(self, job_id: str) -> bigquery.LoadJob:
        return bigquery.LoadJob.from_api_repr(self._resource(job_id), self)

    def _query_job(self, job_id: str) -> bigquery.QueryJob:
        job = bigquery.QueryJob.from_api_repr(self._resource(job_id), cast("bigquery.Client", self))
        rows = self.jobs[job_id].rows
        job.result = lambda **_: _Rows(rows)  # type: ignore[method-assign, assignment]
        return job

    def _resource(self, job_id: str) -> dict[str, Any]:
        job = self.jobs[job_id]
        dataset, table = job.target.split(".")
        target = {"projectId": self.project, "datasetId": dataset, "tableId": table}
        configuration = {
            "load": {"destinationTable": target},
            "query": {"query": "SELECT 1", "destinationTable": target},
        }[job.kind]
        statistics: dict[str, Any] = {"startTime": _millis(job.started_at)}
        status: dict[str, Any] = {"state": job.state}
        if job.ended_at:
            statistics |= {"endTime": _millis(job.ended_at)}
            if job.kind == "load":
                statistics["load"] = {"outputRows": str(len(job.rows))}
        if job.error:
            status |= {"errorResult": job.error, "errors": [job.error]}
        return {
            "jobReference": {
                "projectId": self.project,
                "jobId": job_id,
                "location": self.location,
            },
            "configuration": {job.kind: configuration, "labels": job.labels},
            "status": status,
            "statistics": statistics,
        }

    def _partition_writes(self, params: Mapping[str, Any]) -> list[dict[str, Any]]:
        # The dataset is an identifier, not a parameter: one table name means one table here.
        return [
            {
                "partition_id": name.rpartition("$")[2],
                "total_rows": len(partition.rows),
                "last_modified_time": partition.modified_at,
            }
            for name, partition in self.partitions.items()
            if name.split(".")[1].partition("$")[0] == params["table"]
            and name.rpartition("$")[2] in params["partitions"]
        ]

    def _latest(self, params: Mapping[str, Any]) -> list[dict[str, Any]]:
        newest: dict[tuple[str, ...], dict[str, Any]] = {}
        for row in map(_typed_ledger_row, self.streamed.get("organizations.org_meta_slices", [])):
            if row["org_slug"] not in params["orgs"]:
                continue
            if row["pipeline_id"] not in params["pipeline_ids"]:
                continue
            if row["slice_day"] < params["since"] or row["action"] not in params["actions"]:
                continue
            has_content = str(row["action"] in params["content"])
            key = (row["org_slug"], row["table_name"], row["slice_day"].isoformat(), has_content)
            if key not in newest or _order(row) >= _order(newest[key]):
                newest[key] = row
        return list(newest.values())


def _order(row: Mapping[str, Any]) -> tuple[int, datetime]:
    return row["attempt"], row["checked_at"]


def _typed_ledger_row(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **row,
        "slice_day": date.fromisoformat(row["slice_day"]),
        "checked_at": datetime.fromisoformat(row["checked_at"]),
        "job_ended_at": datetime.fromisoformat(row["job_ended_at"]),
        "totals": _typed_sums(row["totals"]),
        "previous_run_id": row.get("previous_run_id"),
        "previous_row_count": row.get("previous_row_count"),
        "previous_totals": _typed_sums(row.get("previous_totals", [])),
        "inputs": row.get("inputs", []),
        **_typed_figures(row),
        "lower_pending": _typed_lower_read(row.get("lower_pending")),
        "change": row.get("change"),
        "content_since": _typed_instant(row.get("content_since")),
    }


def _typed_instant(value: str | None) -> datetime | None:
    return None if value is None else datetime.fromisoformat(value)


def _typed_lower_read(lower: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if lower is None:
        return None
    read_at = datetime.fromisoformat(lower["read_at"])
    return {"refused_by": None, **lower, **_typed_figures(lower), "read_at": read_at}


def _typed_figures(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "query_version": row.get("query_version"),
        "gross": _typed_sums(row.get("gross", [])),
        "quantities": _typed_sums(row.get("quantities", [])),
    }


def _typed_sums(sums: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [money | {"amount": Decimal(money["amount"])} for money in sums]


class _Rows(list[Any]):
    @property
    def total_rows(self) -> int:
        return len(self)


class _Answer:
    """A query job that has ended."""

    job_id = "query"

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self._rows = rows

    def result(self, **_: object) -> list[dict[str, Any]]:
        return self._rows


def _millis(moment: datetime) -> str:
    return str(int(moment.timestamp() * 1000))


def warehouse(fake: FakeBigQuery) -> Warehouse:
    """A warehouse on the fake, in no time."""
    waited = [0.0]

    def sleep(seconds: float) -> None:
        waited[0] += seconds

    timeouts = WarehouseTimeouts(retry=0.0, job=600.0, clock=lambda: waited[0], sleep=sleep)
    return Warehouse(fake, location="US", timeouts=timeouts)  # type: ignore[arg-type]
