"""The engine: everything the REST interface needs of BigQuery, on one DuckDB file.

Thread-safe. Reads run side by side in snapshots; writes are serialized; acknowledged writes are
on disk.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from convergence_sandbox.bigquery.database import commits
from convergence_sandbox.bigquery.database.storage import Storage, scalar
from convergence_sandbox.bigquery.errors import in_use, invalid, not_found
from convergence_sandbox.bigquery.resources import partitions, tables
from convergence_sandbox.bigquery.resources.catalog import Catalog, Session
from convergence_sandbox.bigquery.resources.evolution import updated_schema
from convergence_sandbox.bigquery.resources.fields import Json, Schema
from convergence_sandbox.bigquery.resources.model import DatasetMeta, TableMeta, TableRef
from convergence_sandbox.bigquery.rows.copying import copy_rows
from convergence_sandbox.bigquery.rows.loading import Batch, inferred_schema, stage_rows
from convergence_sandbox.bigquery.rows.reading import read_rows
from convergence_sandbox.bigquery.rows.result import QueryResult
from convergence_sandbox.bigquery.rows.streams import Key, Streams
from convergence_sandbox.bigquery.rows.wire import Wire
from convergence_sandbox.bigquery.rows.writes import WriteOptions, write_rows
from convergence_sandbox.bigquery.sql.functions.udf import prepare
from convergence_sandbox.bigquery.sql.types import quote
from convergence_sandbox.bigquery.statements.execute import Executor
from convergence_sandbox.bigquery.statements.request import QueryRequest


class Engine:
    """BigQuery's datasets, tables, jobs' work and rows.

    Args:
        path: the database file; None keeps everything in memory.
        streaming_buffer: reject DML on tables that rows were streamed into, as BigQuery does for
            a while; off, streamed rows can be changed at once.
    """

    def __init__(self, path: Path | None = None, *, streaming_buffer: bool = False) -> None:
        self._storage = Storage(path, prepare=prepare)
        self._catalog = Catalog()
        self._streams = Streams()
        self._executor = Executor(
            self._storage, self._catalog, self._streams if streaming_buffer else None
        )

    def close(self) -> None:
        """Close the database; the engine is of no use afterwards."""
        self._storage.close()

    @contextlib.contextmanager
    def _session(self, *, write: bool) -> Iterator[Session]:
        with self._storage.connection() as cursor, self._storage.transaction(cursor, write=write):
            yield Session(cursor, catalog=self._catalog)

    # --- datasets ---------------------------------------------------------------------------

    def list_projects(self) -> list[str]:
        """Return the projects that have a dataset, by name."""
        with self._session(write=False) as session:
            return sorted({project for project, _ in session.snapshot.datasets})

    def create_dataset(self, project: str, resource: Json) -> DatasetMeta:
        """`datasets.insert`. 409 when it exists."""
        with self._session(write=True) as session:
            return session.create_dataset(DatasetMeta.from_rest(resource, project=project))

    def get_dataset(self, project: str, dataset: str) -> DatasetMeta:
        """`datasets.get`. 404 when missing."""
        with self._session(write=False) as session:
            return session.snapshot.dataset(project, dataset)

    def list_datasets(self, project: str) -> list[DatasetMeta]:
        """`datasets.list`, by name."""
        with self._session(write=False) as session:
            found = [meta for key, meta in session.snapshot.datasets.items() if key[0] == project]
            return sorted(found, key=lambda meta: meta.dataset)

    def update_dataset(
        self, project: str, dataset: str, resource: Json, *, partial: bool
    ) -> DatasetMeta:
        """`datasets.patch` (`partial`: only the keys given change, None clears) or `update`."""
        with self._session(write=True) as session:
            old = session.snapshot.dataset(project, dataset)
            base: Json = old.to_rest() if partial else {"location": old.location}
            name = {"datasetReference": {"projectId": project, "datasetId": dataset}}
            merged = base | resource | name
            new = DatasetMeta.from_rest(merged, project=project)
            if new.location != old.location:
                raise invalid(f"Cannot change the location of dataset {old}")
            kept = replace(new, created_ms=old.created_ms, modified_ms=old.modified_ms)
            return session.put_dataset(kept)

    def delete_dataset(self, project: str, dataset: str, *, delete_contents: bool = False) -> None:
        """`datasets.delete`. 400 `resourceInUse` when it has tables and they may not go too."""
        with self._session(write=True) as session:
            meta = session.snapshot.dataset(project, dataset)
            found = session.snapshot.tables_of(project, dataset)
            if found and not delete_contents:
                raise in_use(f"Dataset {meta} is still in use")
            for table in found:
                tables.drop_table(session, table)
            session.drop_dataset(meta)

    # --- tables -----------------------------------------------------------------------------

    def create_table(self, project: str, dataset: str, resource: Json) -> TableMeta:
        """`tables.insert`, for tables and views. 404 dataset, 409 table, 400 invalid."""
        name = str((resource.get("tableReference") or {}).get("tableId") or "")
        ref = TableRef(project, dataset, name)
        with self._session(write=True) as session:
            meta = TableMeta.from_rest(resource, ref=ref)
            session.snapshot.dataset(project, dataset)
            made = tables.create_table(session, meta, storage=self._storage)
            return self._executor.with_view_schema(session, made)

    def get_table(self, ref: TableRef) -> TableMeta:
        """`tables.get`. 404 when missing; a view's schema is that of its query now."""
        with self._session(write=False) as session:
            return self._executor.with_view_schema(session, session.snapshot.table(ref), safe=True)

    def table_resource(self, ref: TableRef, *, made: TableMeta | None = None) -> Json:
        """`tables.get` as REST JSON, with row and byte counts and the dataset's location.

        Args:
            ref: the table or view.
            made: as it was just made or changed; a view is then not compiled once more.
        """
        with self._session(write=False) as session:
            if made is not None and made.is_view:
                meta = made
            else:
                kept = session.snapshot.table(ref)
                meta = self._executor.with_view_schema(session, kept, safe=True)
            location = session.snapshot.dataset(ref.project, ref.dataset).location
            if meta.is_view:
                return meta.to_rest(location=location)
            rows = int(scalar(session.cursor, f"SELECT count(*) FROM {tables.stored_name(meta)}"))
            size = rows * self._executor.row_width(session, meta) if rows else 0
            return meta.to_rest(rows=rows, size=size, location=location)

    def list_tables(self, project: str, dataset: str) -> list[TableMeta]:
        """`tables.list`, by name. 404 when the dataset is missing."""
        with self._session(write=False) as session:
            session.snapshot.dataset(project, dataset)
            return session.snapshot.tables_of(project, dataset)

    def update_table(self, ref: TableRef, resource: Json, *, partial: bool) -> TableMeta:
        """`tables.patch` or `tables.update`: columns are added and relaxed, never lost."""
        with self._session(write=True) as session:
            old = session.snapshot.table(ref)
            base = old.to_rest() if partial else {}
            new = TableMeta.from_rest(base | resource, ref=ref)
            new = replace(
                new, created_ms=old.created_ms, modified_ms=old.modified_ms, physical=old.physical
            )
            if old.is_view or new.is_view:
                return self._updated_view(session, old, new)
            _reject_layout_change(old, new)
            schema = new.schema if "schema" in resource else old.schema
            kept = tables.widen(session, old, updated_schema(old, schema), storage=self._storage)
            changed = replace(
                new, schema=kept.schema, physical=kept.physical, modified_ms=kept.modified_ms
            )
            tables.check_table(changed)
            return session.put_table(changed)

    def _updated_view(self, session: Session, old: TableMeta, new: TableMeta) -> TableMeta:
        if old.is_view != new.is_view:
            raise invalid(f"Cannot change the type of {old.ref} between TABLE and VIEW")
        made = session.put_table(replace(new, schema=Schema()))
        return self._executor.with_view_schema(session, made)

    def delete_table(self, ref: TableRef) -> None:
        """`tables.delete`; with a `$partition`, only that partition's rows."""
        target = partitions.destination(ref)
        with self._session(write=True) as session:
            meta = session.snapshot.find(target.ref)
            if meta is None:
                session.snapshot.dataset(ref.project, ref.dataset)
                raise not_found("Table", str(target.ref))
            if target.partition is None:
                tables.drop_table(session, meta)
                return
            condition = partitions.partition_condition(meta, target.partition)
            session.cursor.execute(f"DELETE FROM {tables.stored_name(meta)} WHERE {condition}")
            partitions.mark_written(session.cursor, meta, [target.partition])

    # --- rows -------------------------------------------------------------------------------

    def load_rows(
        self,
        destination: TableRef,
        batches: Iterable[Batch],
        *,
        schema: Schema | None = None,
        options: WriteOptions | None = None,
        write_disposition: str = "WRITE_APPEND",
        create_disposition: str = "CREATE_IF_NEEDED",
        schema_update_options: Collection[str] = (),
        ignore_unknown: bool = False,
        max_bad_records: int = 0,
    ) -> int:
        """Return a load job's work, atomic: all rows or none. Returns the number of rows.

        Args:
            destination: the table; `table$20251125` replaces or appends to one partition.
            batches: Arrow tables, or lists of JSON objects.
            schema: the rows' schema; by default the table's, else that of the first Arrow table.
            options: partitioning and clustering of a table to be made; the dispositions given
                next to it win.
            write_disposition: as in the job configuration.
            create_disposition: as in the job configuration.
            schema_update_options: as in the job configuration.
            ignore_unknown: `ignoreUnknownValues`.
            max_bad_records: rejected rows that are left out instead of failing the job.
        """
        target = partitions.destination(destination)
        options = replace(
            options or WriteOptions(),
            write=write_disposition,
            create=create_disposition,
            schema_updates=schema_update_options,
        ).checked()
        batches = iter(batches)
        with self._storage.connection() as cursor:
            if schema is None:
                schema, batches = self._load_schema(target.ref, batches)
            staged = stage_rows(
                cursor,
                batches,
                schema=schema,
                storage=self._storage,
                ignore_unknown=ignore_unknown,
                max_bad_rows=max_bad_records,
            )
            try:
                with self._storage.transaction(cursor, write=True):
                    session = Session(cursor, catalog=self._catalog)
                    return write_rows(session, target, staged, options, storage=self._storage)
            finally:
                cursor.execute(f"DROP TABLE IF EXISTS temp.{quote(staged.name)}")

    def _load_schema(
        self, ref: TableRef, batches: Iterator[Batch]
    ) -> tuple[Schema, Iterator[Batch]]:
        with self._session(write=False) as session:
            meta = session.snapshot.find(ref)
        if meta is not None and meta.schema.fields:
            return meta.schema, batches
        first = next(batches, None)
        if first is None:
            raise invalid("No schema specified on job or table.")

        def again() -> Iterator[Batch]:
            yield first
            yield from batches

        return inferred_schema(first), again()

    def insert_all(
        self,
        ref: TableRef,
        rows: Sequence[Json],
        *,
        skip_invalid: bool = False,
        ignore_unknown: bool = False,
    ) -> list[Json]:
        """`tabledata.insertAll`: rows `{"insertId"?, "json"}`; returns `insertErrors`."""
        taken: list[Key] = []
        try:
            with self._session(write=True) as session:
                return self._streams.insert(
                    session,
                    partitions.destination(ref),
                    rows,
                    skip_invalid=skip_invalid,
                    ignore_unknown=ignore_unknown,
                    taken=taken,
                )
        except BaseException:
            self._streams.forget(taken)
            raise

    def read_table(
        self,
        ref: TableRef,
        *,
        start: int = 0,
        max_results: int | None = None,
        selected_fields: Sequence[str] = (),
        int64_timestamps: bool = True,
    ) -> tuple[list[dict[str, Wire]], int]:
        """`tabledata.list`: rows in wire form, and how many the table (or partition) has."""
        target = partitions.destination(ref)
        with self._session(write=False) as session:
            return read_rows(
                session,
                target,
                start=start,
                count=max_results,
                selected=selected_fields,
                int64_timestamps=int64_timestamps,
            )

    def copy_tables(
        self, sources: Sequence[TableRef], destination: TableRef, *, options: WriteOptions
    ) -> int:
        """Return a copy job's work, atomic. Returns the number of rows."""
        named = [partitions.destination(source) for source in sources]
        with self._session(write=True) as session:
            return copy_rows(
                session,
                named,
                partitions.destination(destination),
                options.checked(),
                storage=self._storage,
            )

    # --- what jobs have reached -------------------------------------------------------------

    def was_committed(self, note: str) -> bool:
        """Return whether a write under this note (see `commits`) is in the database."""
        with self._storage.connection() as cursor:
            return commits.is_noted(cursor, note)

    def forget_commits(self) -> None:
        """Drop all notes, once nothing needs them any more."""
        with self._session(write=True) as session:
            commits.forget(session.cursor)

    # --- queries ----------------------------------------------------------------------------

    def query(self, sql: str, *, project: str, **request: Any) -> QueryResult:
        """Run one statement or a script; keywords are those of `execute.QueryRequest`."""
        return self._executor.run(QueryRequest(sql, project=project, **request))


def _reject_layout_change(old: TableMeta, new: TableMeta) -> None:
    before, after = old.time_partitioning, new.time_partitioning
    same = (before is None) == (after is None) and (
        before is None or after is None or (before.type, before.field) == (after.type, after.field)
    )
    if not same or old.range_partitioning != new.range_partitioning:
        raise invalid(f"Cannot change the partitioning of table {old.ref}")
