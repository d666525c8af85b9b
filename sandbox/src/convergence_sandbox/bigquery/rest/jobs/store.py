"""The table of jobs, in SQLite next to the data: an id once used stays taken."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from convergence_sandbox.bigquery.errors import duplicate, not_found
from convergence_sandbox.bigquery.rest.jobs.job import Job, JobKey, canonical_location

DEFAULT_LOCATIONS = ("US", "EU")  # where jobs.get looks when the request names no location

_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    project TEXT NOT NULL,
    location TEXT NOT NULL,
    job_id TEXT NOT NULL,
    state TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    parent_id TEXT,
    request_id TEXT,
    deleted INTEGER NOT NULL DEFAULT 0,
    document TEXT NOT NULL,
    UNIQUE (project, location, job_id)
);
CREATE INDEX IF NOT EXISTS jobs_by_request ON jobs (project, request_id)
    WHERE request_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS jobs_unfinished ON jobs (state) WHERE state <> 'DONE';
CREATE INDEX IF NOT EXISTS jobs_by_parent ON jobs (project, parent_id) WHERE parent_id IS NOT NULL;
"""

_COLUMNS = "project, location, job_id, state, created_ms, parent_id, request_id, document"
_FIELDS = ("kind", "configuration", "started_ms", "ended_ms", "statistics", "error", "media")


@dataclass(frozen=True)
class JobFilter:
    """The filter of a listing; children only by their parent."""

    project: str
    parent_id: str | None = None
    states: tuple[str, ...] = ()
    since_ms: int | None = None
    until_ms: int | None = None
    before: int | None = None

    def sql(self) -> tuple[str, tuple[str | int, ...]]:
        """Return the WHERE clause and its values."""
        conditions: list[tuple[str, tuple[str | int, ...]]] = [
            ("project = ? AND deleted = 0", (self.project,)),
            ("parent_id = ?", (self.parent_id,)) if self.parent_id else ("parent_id IS NULL", ()),
        ]
        if self.states:
            conditions.append((f"state IN ({', '.join('?' * len(self.states))})", self.states))
        bounds = (
            ("created_ms >= ?", self.since_ms),
            ("created_ms <= ?", self.until_ms),
            ("seq < ?", self.before),
        )
        conditions += [(condition, (value,)) for condition, value in bounds if value is not None]
        values = tuple(value for _, some in conditions for value in some)
        return " AND ".join(condition for condition, _ in conditions), values


class JobStore:
    """Thread-safe; every write is on disk before its call returns.

    WAL with `synchronous=NORMAL` survives the kill of the process, though not the loss of power.
    """

    def __init__(self, path: Path | None) -> None:
        self._lock = threading.Lock()
        self._db = sqlite3.connect(
            path or ":memory:", check_same_thread=False, isolation_level=None
        )
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        """Give the file back."""
        with self._lock:
            self._db.close()

    def insert(self, job: Job) -> None:
        """Take the job's id.

        Raises:
            BigQueryError: 409 `duplicate` when the id was ever used, by a failed job too.
        """
        values = (*_identity(job.key), job.state, job.created_ms, job.parent_id, job.request_id)
        try:
            with self._cursor() as cursor:
                cursor.execute(
                    "INSERT INTO jobs (project, location, job_id, state, created_ms, parent_id,"
                    " request_id, document) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    (*values, _document(job)),
                )
        except sqlite3.IntegrityError as exc:
            raise duplicate("Job", str(job.key)) from exc

    def update(self, job: Job) -> None:
        """Replace what is known of the job."""
        with self._cursor() as cursor:
            cursor.execute(
                "UPDATE jobs SET state = ?, document = ?"
                " WHERE project = ? AND location = ? AND job_id = ?",
                (job.state, _document(job), *_identity(job.key)),
            )

    def get(self, project: str, job_id: str, *, location: str | None = None) -> Job:
        """Return the job; without a location it is sought in US, then EU, as BigQuery does.

        Raises:
            BigQueryError: 404 `notFound`.
        """
        location = canonical_location(location)
        for place in (location,) if location else DEFAULT_LOCATIONS:
            rows = self._select(
                "project = ? AND location = ? AND job_id = ? AND deleted = 0",
                (project, place, job_id),
            )
            if rows:
                return rows[0]
        name = f"{project}:{location}.{job_id}" if location else f"{project}:{job_id}"
        raise not_found("Job", name)

    def by_request(self, project: str, request_id: str, *, since_ms: int = 0) -> Job | None:
        """Return the job that an earlier request of this id made."""
        rows = self._select(
            "project = ? AND request_id = ? AND created_ms >= ? AND deleted = 0 ORDER BY seq DESC",
            (project, request_id, since_ms),
        )
        return rows[0] if rows else None

    def page(self, job_filter: JobFilter, *, size: int) -> list[tuple[int, Job]]:
        """Up to `size` jobs, newest first, each with its place in the listing."""
        where, values = job_filter.sql()
        with self._cursor() as cursor:
            cursor.execute(
                f"SELECT seq, {_COLUMNS} FROM jobs WHERE {where} ORDER BY seq DESC LIMIT ?",
                (*values, size),
            )
            return [(row[0], _job(row[1:])) for row in cursor.fetchall()]

    def unfinished(self) -> list[Job]:
        """Jobs that a stop or a kill left behind, oldest first."""
        return self._select("state <> 'DONE' ORDER BY seq", ())

    def delete(self, key: JobKey) -> None:
        """Forget the job's metadata; its id stays taken."""
        with self._cursor() as cursor:
            cursor.execute(
                "UPDATE jobs SET deleted = 1 WHERE project = ?"
                " AND (location = ? AND job_id = ? OR parent_id = ?)",
                (*_identity(key), key.job_id),
            )

    def _select(self, where: str, values: tuple[Any, ...]) -> list[Job]:
        with self._cursor() as cursor:
            cursor.execute(f"SELECT {_COLUMNS} FROM jobs WHERE {where}", values)
            return [_job(row) for row in cursor.fetchall()]

    @contextmanager
    def _cursor(self) -> Iterator[sqlite3.Cursor]:
        with self._lock:
            cursor = self._db.cursor()
            try:
                yield cursor
            finally:
                cursor.close()


def _identity(key: JobKey) -> tuple[str, str, str]:
    return key.project, key.location, key.job_id


def _document(job: Job) -> str:
    fields = {name: getattr(job, name) for name in _FIELDS}
    return json.dumps(fields | {"errors": list(job.errors)}, separators=(",", ":"), default=str)


def _job(row: tuple[Any, ...]) -> Job:
    project, location, job_id, state, created_ms, parent_id, request_id, document = row
    fields = json.loads(document)
    fields["errors"] = tuple(fields["errors"])
    job = Job(key=JobKey(project, location, job_id), created_ms=created_ms, **fields)
    return replace(job, state=state, parent_id=parent_id, request_id=request_id)
