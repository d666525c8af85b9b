"""What one compilation knows and collects: the catalog, values by name, tables read."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field

from convergence_sandbox.bigquery.errors import invalid_query
from convergence_sandbox.bigquery.resources.catalog import Snapshot
from convergence_sandbox.bigquery.resources.model import TableMeta, TableRef
from convergence_sandbox.bigquery.rows.values import EPOCH, MICROSECOND
from convergence_sandbox.bigquery.sql.expr import Expr


@dataclass(slots=True)
class TableInstance:
    """One mention of a table in a query.

    Attributes:
        meta: the table.
        alias: the alias of ours it was given.
        columns: names of the columns read.
        filters: DuckDB conditions on its partition column alone, by constants.
        name: how a message calls it.
    """

    meta: TableMeta
    alias: str
    columns: set[str] = field(default_factory=set)
    filters: list[str] = field(default_factory=list)
    filtered: bool = False


@dataclass(slots=True)
class Context:
    """Everything a compilation shares between its parts.

    Attributes:
        snapshot: the catalog of the running transaction.
        project: the project of unqualified names.
        dataset: the default dataset as (project, dataset), or None.
        parameters: query parameters by lower-case name.
        variables: script variables by lower-case name.
        exact: compute decimals by the slow, always exact way.
        now: the moment CURRENT_TIMESTAMP gives throughout.
        temporary: temporary tables of the script, by lower-case name.
    """

    snapshot: Snapshot
    project: str
    dataset: tuple[str, str] | None = None
    parameters: Mapping[str, Expr] = field(default_factory=dict)
    variables: Mapping[str, Expr] = field(default_factory=dict)
    exact: bool = False
    now: dt.datetime = field(default_factory=lambda: dt.datetime.now(dt.UTC))
    temporary: Mapping[str, TableMeta] = field(default_factory=dict)
    instances: list[TableInstance] = field(default_factory=list)
    views: tuple[TableRef, ...] = ()
    referenced: dict[TableRef, None] = field(default_factory=dict)
    numbers: int = 0

    def alias(self) -> str:
        """Return a fresh alias."""
        self.numbers += 1
        return f"t{self.numbers}"

    @property
    def now_micros(self) -> int:
        """`now` in microseconds since the epoch."""
        return (self.now - EPOCH) // MICROSECOND

    def table_ref(self, parts: list[str]) -> TableRef:
        """Return the full name of a table reference.

        Raises:
            BigQueryError: an unqualified name without a default dataset.
        """
        if len(parts) == 3:
            return TableRef(*parts)
        if len(parts) == 2:
            return TableRef(self.project, *parts)
        if len(parts) == 1 and self.dataset is not None:
            return TableRef(*self.dataset, parts[0])
        raise invalid_query(
            f'Table "{".".join(parts)}" must be qualified with a dataset (e.g. dataset.table).'
        )

    def parameter(self, name: str) -> Expr:
        """Return a query parameter.

        Raises:
            BigQueryError: it was not given.
        """
        found = self.parameters.get(name.lower())
        if found is None:
            if name.startswith("__position_"):
                raise invalid_query(
                    "Query parameter at position"
                    f" {int(name.removeprefix('__position_')) + 1} not found"
                )
            raise invalid_query(f"Query parameter '{name}' not found")
        return found
