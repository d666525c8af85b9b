"""What a job is: its key, its life, and the Job resource that BigQuery shows of it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from convergence_sandbox.bigquery.errors import BigQueryError
from convergence_sandbox.bigquery.rest.wire import Json, with_etag

State = Literal["PENDING", "RUNNING", "DONE"]
Kind = Literal["query", "load", "copy"]

USER = "anonymous@sandbox.invalid"

# The HTTP status that jobs.getQueryResults and jobs.query return for a failed job's reason:
# https://cloud.google.com/bigquery/docs/error-messages
REASON_STATUS = {
    "accessDenied": 403,
    "backendError": 503,
    "billingNotEnabled": 403,
    "billingTierLimitExceeded": 400,
    "blocked": 403,
    "bytesBilledLimitExceeded": 400,
    "duplicate": 409,
    "internalError": 500,
    "invalid": 400,
    "invalidQuery": 400,
    "jobRateLimitExceeded": 400,
    "notFound": 404,
    "notImplemented": 501,
    "quotaExceeded": 403,
    "rateLimitExceeded": 403,
    "resourceInUse": 400,
    "resourcesExceeded": 400,
    "responseTooLarge": 403,
    "stopped": 499,
    "tableUnavailable": 400,
}


def now_ms() -> int:
    """Return wall-clock time in milliseconds, as in BigQuery's statistics."""
    return time.time_ns() // 1_000_000


def canonical_location(name: str | None) -> str | None:
    """Return a location as BigQuery spells it: `US`, `EU`, and regions in lower case."""
    if not name:
        return None
    return name.upper() if name.upper() in {"US", "EU"} else name.lower()


@dataclass(frozen=True)
class JobKey:
    """A job's identity: an id is unique within its project and location."""

    project: str
    location: str
    job_id: str

    def __str__(self) -> str:
        return f"{self.project}:{self.location}.{self.job_id}"

    def reference(self) -> Json:
        """Return the JobReference resource."""
        return {"projectId": self.project, "jobId": self.job_id, "location": self.location}


@dataclass(frozen=True)
class Job:
    """One job as the store keeps it; a change of state makes a new value."""

    key: JobKey
    kind: Kind
    configuration: Json
    created_ms: int = field(default_factory=now_ms)
    state: State = "PENDING"
    started_ms: int | None = None
    ended_ms: int | None = None
    statistics: Json = field(default_factory=dict)
    error: Json | None = None
    errors: tuple[Json, ...] = ()
    parent_id: str | None = None
    request_id: str | None = None
    media: str | None = None

    @property
    def done(self) -> bool:
        """Return whether it has ended, well or not."""
        return self.state == "DONE"

    def start(self) -> Job:
        """Return the job as it begins to run."""
        return replace(self, state="RUNNING", started_ms=now_ms())

    def succeed(self, statistics: Json, *, warnings: tuple[Json, ...] = ()) -> Job:
        """Return the job after its work was committed; `warnings` are rows that were let go."""
        return self._end(statistics=statistics, errors=warnings)

    def fail(self, error: BigQueryError, *, details: tuple[Json, ...] = ()) -> Job:
        """Return the job after it failed without effect."""
        proto = error.to_rest()
        return self._end(error=proto, errors=(proto, *details))

    def _end(self, **changes: Any) -> Job:
        ended = now_ms()
        started = self.started_ms or ended
        return replace(self, state="DONE", started_ms=started, ended_ms=ended, **changes)

    def failure(self) -> BigQueryError | None:
        """Return the error for a request of this job's results."""
        if self.error is None:
            return None
        reason = self.error["reason"]
        return BigQueryError(
            self.error.get("message", ""),
            status=REASON_STATUS.get(reason, 400),
            reason=reason,
            location=self.error.get("location"),
        )

    def resource(self) -> Json:
        """Return the Job resource, https://cloud.google.com/bigquery/docs/reference/rest/v2/Job."""
        status: Json = {"state": self.state}
        if self.error:
            status["errorResult"] = self.error
        if self.errors:
            status["errors"] = list(self.errors)
        configuration = self.configuration | {"jobType": self.kind.upper()}
        if self._is_kept_result():
            payload = {"destinationTable": anonymous(self.key), **configuration["query"]}
            configuration["query"] = payload
        return with_etag(
            {
                "kind": "bigquery#job",
                "id": str(self.key),
                "selfLink": f"/bigquery/v2/projects/{self.key.project}/jobs/{self.key.job_id}"
                f"?location={self.key.location}",
                "user_email": USER,
                "principal_subject": f"user:{USER}",
                "jobReference": self.key.reference(),
                "configuration": configuration,
                "status": status,
                "statistics": self._statistics(),
            }
        )

    def _is_kept_result(self) -> bool:
        """Return whether this is a SELECT with rows and nobody said where to put them."""
        payload = self.statistics.get("query", {})
        return self.kind == "query" and self.done and payload.get("statementType") == "SELECT"

    def _statistics(self) -> Json:
        times = {"startTime": self.started_ms, "endTime": self.ended_ms}
        known = {name: str(value) for name, value in times.items() if value is not None}
        parent = {"parentJobId": self.parent_id} if self.parent_id else {}
        return {"creationTime": str(self.created_ms), **known, **parent, **self.statistics}


def anonymous(key: JobKey) -> Json:
    """Return the table that BigQuery keeps a query's rows in when the job names none."""
    place = f"_anon{key.location.encode().hex()}"
    return {
        "projectId": key.project,
        "datasetId": place,
        "tableId": f"anon{key.job_id.encode().hex()}",
    }


def read_anonymous(*, project: str, dataset: str, table: str) -> JobKey | None:
    """Return the query whose rows such a table holds; None when it is another table."""
    if not dataset.startswith("_anon") or not table.startswith("anon"):
        return None
    try:
        location = bytes.fromhex(dataset.removeprefix("_anon")).decode()
        return JobKey(project, location, bytes.fromhex(table.removeprefix("anon")).decode())
    except ValueError:
        return None
