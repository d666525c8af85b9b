"""Replace a table without partitions as a whole, but only when its inputs changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date
from typing import Final

from convergence.errors import InputChangedError
from convergence.processors.context import OrgContext
from convergence.runs.ledger import Action, LedgerRow, Replaced
from convergence.runs.publisher import Attempt, PricedDay
from convergence.runs.slices import Finality, SliceKey
from convergence.warehouse.jobs import JobOutcome
from convergence.warehouse.names import TableName, job_base
from convergence.warehouse.partitions.fill import query_table, table_writes
from convergence.warehouse.partitions.publish import is_intact
from convergence.warehouse.schemas import TableSchema

ALL_DAYS: Final = date(1970, 1, 1)
"""The day in ledger rows of a table without days; it is before every day of a run."""
MAX_ROUNDS: Final = 3
"""Maximum times that the table is computed again because an input changed meanwhile."""


@dataclass(frozen=True)
class WholeTable:
    """The table of one org in one run."""

    org: OrgContext
    table: TableName
    schema: TableSchema

    def fill(self, query: Callable[[], PricedDay]) -> LedgerRow:
        """Replace the table, unless it has this content already.

        Args:
            query: builds the query with the current inputs; it is called again when an input
                changed while the query ran.

        Returns:
            The recorded ledger row.

        Raises:
            InputChangedError: an input changes each time.
            WarehouseError, WarehouseUnavailableError: the warehouse rejects or fails the job.
        """
        for _ in range(MAX_ROUNDS):
            (attempt,) = self.org.publisher.begin_attempts([self._key]).values()
            row = self._fill_table(attempt, query())
            if row is not None:
                self.org.ledger.append_rows([row])
                return row
            self.org.log.info("an input of %s changed; computing it again", self.table)
        raise InputChangedError("An input keeps changing while it is read", table=str(self.table))

    @property
    def _key(self) -> SliceKey:
        org = self.org
        return SliceKey(org.org_slug, org.pipeline.pipeline_id, self.table.table, ALL_DAYS)

    def _fill_table(self, attempt: Attempt, query: PricedDay) -> LedgerRow | None:
        """Return the row to record; None when an input changed while the query ran."""
        previous = attempt.previous
        if previous is not None and self._has_content(previous, query):
            return replace(
                previous,
                action=Action.UNCHANGED,
                attempt=attempt.number,
                run_id=self.org.run_id,
                checked_at=self.org.now(),
                replaced=None,
                inputs=query.inputs,
            )
        outcome = self._run_query(query)
        if query.inputs_stand is not None and not query.inputs_stand(outcome):
            return None
        return self._build_row(attempt, query, outcome)

    def _has_content(self, previous: LedgerRow, query: PricedDay) -> bool:
        if not previous.is_valid or previous.content_hash != query.content_hash:
            return False
        write = table_writes(self.org.warehouse, self.table.dataset, [self.table.table])
        return is_intact(
            write.get(self.table.table), rows=previous.row_count, written_by=previous.job_ended_at
        )

    def _run_query(self, query: PricedDay) -> JobOutcome:
        org = self.org
        return query_table(
            org.warehouse,
            self.table,
            query.sql_path,
            schema=self.schema,
            identifiers=query.identifiers,
            params=query.params,
            job_base=job_base(
                "transform",
                org.org_slug,
                self.table.table,
                org.run_id,
                query.content_hash,
                str(self.table),
            ),
            job_labels={
                "org": org.org_slug,
                "pipeline": org.pipeline.pipeline_id,
                "table": self.table.table,
                "run": org.run_id,
            },
            max_bytes=query.max_bytes,
            inputs_stand=query.inputs_stand,
        )

    def _build_row(self, attempt: Attempt, query: PricedDay, outcome: JobOutcome) -> LedgerRow:
        previous = attempt.previous
        return LedgerRow(
            key=self._key,
            action=Action.PUBLISHED,
            attempt=attempt.number,
            run_id=self.org.run_id,
            job_id=outcome.job_id,
            content_hash=query.content_hash,
            row_count=outcome.rows,
            finality=Finality.OPEN,
            checked_at=self.org.now(),
            job_ended_at=outcome.ended_at,
            replaced=Replaced.from_row(previous) if previous else None,
            inputs=query.inputs,
        )
