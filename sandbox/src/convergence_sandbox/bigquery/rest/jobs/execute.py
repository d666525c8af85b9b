"""Does the work of a job on the engine, and says of it what BigQuery's statistics say."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from convergence_sandbox.bigquery.database.commits import note_commits
from convergence_sandbox.bigquery.engine import Engine
from convergence_sandbox.bigquery.errors import BigQueryError, invalid
from convergence_sandbox.bigquery.resources.fields import Schema
from convergence_sandbox.bigquery.resources.model import TableRef
from convergence_sandbox.bigquery.rest.customers import reject_foreign
from convergence_sandbox.bigquery.rest.jobs.job import Job
from convergence_sandbox.bigquery.rest.jobs.media import Rejects, read_batches
from convergence_sandbox.bigquery.rest.jobs.statistics import query_statistics
from convergence_sandbox.bigquery.rest.jobs.work import CopyWork, LoadWork, QueryWork, Work
from convergence_sandbox.bigquery.rest.wire import Json
from convergence_sandbox.bigquery.rows.result import QueryResult
from convergence_sandbox.bigquery.rows.writes import WriteOptions


@dataclass(frozen=True)
class Outcome:
    """What a job leaves behind when it went well."""

    statistics: Json
    result: QueryResult | None = None
    warnings: tuple[Json, ...] = ()


class JobExecutor:
    """Runs one job's work to its end; every rejection is a `BigQueryError`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def run(self, work: Work, *, job: Job, media: Path | None) -> Outcome:
        """Do it.

        Raises:
            BigQueryError: the work has failed and left nothing behind.
        """
        with note_commits(str(job.key)):
            if isinstance(work, QueryWork):
                return self._query(work, project=job.key.project)
            if isinstance(work, CopyWork):
                return self._copy(work)
            if media is None or not media.exists():
                raise invalid("The uploaded file of this load job is gone.")
            return self._load(work, media)

    def recall(self, work: Work, *, job: Job, media: Path | None) -> Outcome | None:
        """Return what a job came to that a kill struck after its commit and before its last word.

        None when the commit does not prove that all was done: a script commits at each statement.
        """
        if isinstance(work, LoadWork):
            rows = 0
            if media is not None and media.exists():
                batches = read_batches(
                    media,
                    work.load,
                    columns=self._columns(work),
                    rejects=Rejects(limit=work.max_bad),
                )
                rows = sum(len(batch) for batch in batches)
            return Outcome(_load_statistics(rows, bad=0, media=media))
        if isinstance(work, CopyWork):
            return Outcome({"copy": {}})
        try:
            plan = self.dry_run(work, project=job.key.project)
        except BigQueryError:
            # What it made or dropped can stand in the way of compiling it again.
            return Outcome({"query": {}})
        return None if plan.statement_type == "SCRIPT" else Outcome(query_statistics(plan))

    def was_committed(self, job: Job) -> bool:
        """Return whether a write of this job is in the database."""
        return self._engine.was_committed(str(job.key))

    def forget_commits(self) -> None:
        """Drop what `was_committed` knows, once every job has had its last word."""
        self._engine.forget_commits()

    def dry_run(self, work: QueryWork, *, project: str) -> QueryResult:
        """Check the query and return its schema and size, running nothing."""
        return self._ask(work, project=project, dry_run=True)

    def _ask(self, work: QueryWork, *, project: str, dry_run: bool) -> QueryResult:
        options = work.target.options if work.target else WriteOptions(write="WRITE_EMPTY")
        result = self._engine.query(
            work.sql,
            project=project,
            default_dataset=work.default_dataset,
            parameters=work.parameters,
            parameter_mode=work.mode,
            dry_run=dry_run,
            destination=work.target.table if work.target else None,
            write_disposition=options.write,
            create_disposition=options.create,
            schema_update_options=options.schema_updates,
            options=options,
            maximum_bytes_billed=work.max_bytes,
        )
        reject_foreign(result.referenced_tables, project=project)
        return result

    def _query(self, work: QueryWork, *, project: str) -> Outcome:
        result = self._ask(work, project=project, dry_run=False)
        return Outcome(query_statistics(result), result=result)

    def _load(self, work: LoadWork, media: Path) -> Outcome:
        rejects = Rejects(limit=work.max_bad)
        options = work.target.options
        batches = read_batches(media, work.load, columns=self._columns(work), rejects=rejects)
        rows = self._engine.load_rows(
            work.target.table,
            batches,
            schema=work.schema,
            options=options,
            write_disposition=options.write,
            create_disposition=options.create,
            schema_update_options=options.schema_updates,
            ignore_unknown=work.ignore_unknown,
            max_bad_records=work.max_bad,
        )
        bad = len(rejects.errors)
        statistics = _load_statistics(rows, bad=bad, media=media)
        return Outcome(statistics, warnings=tuple(rejects.errors))

    def _columns(self, work: LoadWork) -> list[tuple[str, str]]:
        """Return the columns of a CSV file: those of the job's schema, else of the table."""
        schema = work.schema
        if schema is None:
            table = work.target.table
            bare = replace(table, table=table.table.partition("$")[0])
            schema = self._schema_of(bare)
        return [(field.name, field.type) for field in schema.fields]

    def _schema_of(self, table: TableRef) -> Schema:
        try:
            return self._engine.get_table(table).schema
        except BigQueryError:
            return Schema()  # the load itself will say what is missing

    def _copy(self, work: CopyWork) -> Outcome:
        rows = self._engine.copy_tables(
            work.sources, work.target.table, options=work.target.options
        )
        return Outcome({"copy": {"copiedRows": str(rows), "copiedLogicalBytes": "0"}})


def _load_statistics(rows: int, *, bad: int, media: Path | None) -> Json:
    size = str(media.stat().st_size) if media is not None and media.exists() else "0"
    load = {
        "inputFiles": "1",
        "inputFileBytes": size,
        "outputRows": str(rows),
        "outputBytes": size,
        "badRecords": str(bad),
    }
    return {"load": load}
