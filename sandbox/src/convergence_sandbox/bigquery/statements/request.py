"""A query job's configuration, as statements and scripts take it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from convergence_sandbox.bigquery.resources.model import TableRef
from convergence_sandbox.bigquery.rows.writes import WriteOptions


@dataclass(frozen=True, slots=True)
class QueryRequest:
    """A query job's configuration.

    Attributes:
        sql: one statement or a script.
        project: the project of names without one.
        default_dataset: (project, dataset) of table names without one.
        parameters: `queryParameters` in REST form.
        parameter_mode: NAMED or POSITIONAL.
        dry_run: compile only; returns schema, tables and bytes.
        destination: the table to write, perhaps `table$20251125`; None keeps the rows.
        write_disposition: as in the job configuration.
        create_disposition: as in the job configuration.
        schema_update_options: as in the job configuration.
        options: partitioning and clustering of a destination to be made.
        maximum_bytes_billed: reject a query that would process more.
    """

    sql: str
    project: str
    default_dataset: tuple[str, str] | None = None
    parameters: Sequence[Mapping[str, Any]] = ()
    parameter_mode: str = "NAMED"
    dry_run: bool = False
    destination: TableRef | None = None
    write_disposition: str = "WRITE_EMPTY"
    create_disposition: str = "CREATE_IF_NEEDED"
    schema_update_options: Collection[str] = ()
    options: WriteOptions = field(default_factory=WriteOptions)
    maximum_bytes_billed: int | None = None

    def write_options(self) -> WriteOptions:
        """Return the options of the destination."""
        return replace(
            self.options,
            write=self.write_disposition,
            create=self.create_disposition,
            schema_updates=self.schema_update_options,
        ).checked()
