"""Publish a slice: fenced, once per content, recorded, and recoverable at every step.

When a process dies:

1. before the job: nothing happened;
2. after the job, before the row: the next try of the same run finds the job by its id and writes
   the row; another run has another job id and publishes the same content again;
3. after the row: the slice is done.

When two attempts at one slice overlap, the one with the higher number has the newer content. The
lower one stops before it publishes, or finds out afterwards that it was overtaken. In both cases it
leaves the slice to the newer attempt only once the ledger has that attempt's row and the partition
matches the row; otherwise it makes the content again under a still higher number.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime

from convergence.errors import InputChangedError, SupersededError
from convergence.runs.heartbeat import hold_heartbeat
from convergence.runs.ledger import Ledger, LedgerRow, SliceHistory
from convergence.runs.publication import Attempt, PricedDay, Publication
from convergence.runs.shrink_guard import DEFAULT_GUARD, ShrinkGuard, Verdict, build_shrink_error
from convergence.runs.slices import SliceKey
from convergence.state.attempts import (
    Holder,
    NewestAttempt,
    newest_attempt,
    newest_attempts,
    next_attempt,
)
from convergence.state.store import StateStore
from convergence.warehouse.client import Warehouse
from convergence.warehouse.day_file import DayFile, Money
from convergence.warehouse.jobs import JobOutcome
from convergence.warehouse.names import TableName
from convergence.warehouse.partitions.fill import query_partition
from convergence.warehouse.partitions.publish import (
    PartitionWrite,
    is_intact,
    load_partition,
    partition_writes,
)
from convergence.warehouse.query import run_file
from convergence.warehouse.schemas import TableSchema

__all__ = ["Attempt", "PricedDay", "Publisher"]

log = logging.getLogger(__name__)


class Publisher:
    """Publishes slices of one warehouse; safe to share between threads."""

    def __init__(self, warehouse: Warehouse, store: StateStore, ledger: Ledger) -> None:
        self._warehouse = warehouse
        self._store = store
        self._ledger = ledger

    def hold_heartbeat(self, run_id: str) -> AbstractContextManager[Holder]:
        """Renew a heartbeat for the attempts taken with the holder, while the block runs."""
        return hold_heartbeat(self._store, run_id)

    def read_newest_attempts(self, keys: Sequence[SliceKey]) -> dict[SliceKey, NewestAttempt]:
        """Return the newest attempt at each slice that has one."""
        with self._store.read() as conn:
            found = newest_attempts(conn, [key.id for key in keys])
        return {key: found[key.id] for key in keys if key.id in found}

    def is_as_recorded(self, row: LedgerRow, table: TableName) -> bool:
        """Return whether the partition is unchanged since the job of the ledger's row."""
        write = partition_writes(self._warehouse, table, [row.key.day]).get(row.key.day)
        return _is_intact(row, write)

    def begin_attempts(
        self, keys: Sequence[SliceKey], *, holder: Holder | None = None
    ) -> dict[SliceKey, Attempt]:
        """Take an attempt at each slice. Call it before the content is extracted or priced.

        Args:
            keys: the slices.
            holder: renews the heartbeat of the attempts; None for attempts without heartbeat, for
                which no other attempt waits.
        """
        known = self._known(keys)
        with self._store.begin() as conn:
            return {
                key: Attempt(
                    key=key,
                    number=next_attempt(
                        conn,
                        key.id,
                        at_least=known[key].attempt if key in known else 0,
                        holder=holder,
                    ),
                    previous=known[key].content if key in known else None,
                    pending=known[key].pending if key in known else None,
                )
                for key in keys
            }

    def publish_rows(
        self,
        slice_: SliceKey | Attempt,
        sealed: DayFile,
        *,
        table: TableName,
        schema: TableSchema,
        run_id: str,
        now: datetime,
        settle_days: int,
        guard: ShrinkGuard = DEFAULT_GUARD,
    ) -> LedgerRow:
        """Make a sealed day the content of its partition.

        Args:
            slice_: the attempt from `begin_attempts`. A key takes an attempt now: use it only
                where no other process can make content for the slice.
            sealed: all rows of the day; none empties it.
            table: where to.
            schema: the table's.
            run_id: the org run.
            now: the time of the look, aware; before the content was made.
            settle_days: for how long the provider may change the day.
            guard: decides about content that is lower than what is published; only for a day with
                figures.

        Returns:
            The ledger row, written. Its `lower_pending` says that the content waits for its
            confirmation and the published content stays.

        Raises:
            SupersededError: a newer attempt exists. Where its detail `after` is False, nothing was
                published: leave the slice to the newer attempt. Where it is True, this content may
                have overwritten newer content: make it again under a new attempt.
            WouldShrinkError: the content is lower than what is published, and refused. The ledger
                has a row of it.
            NotBootstrappedError, WarehouseUnavailableError, WarehouseError, SchemaError: as from
                the warehouse; no partial content is published.
        """
        work = Publication(
            attempt=self._attempt(slice_),
            table=table,
            run_id=run_id,
            now=now,
            settle_days=settle_days,
            content_hash=sealed.content_hash,
            source_pages=sealed.source_pages,
            figures=sealed.figures,
        )

        def publish() -> JobOutcome:
            return load_partition(
                self._warehouse,
                table,
                work.key.day,
                sealed.path,
                schema=schema,
                rows=sealed.row_count,
                job_base=work.job_base,
                job_labels=work.job_labels,
            )

        return self._publish(work, publish, totals=lambda: sealed.totals, guard=guard)

    def publish_query(
        self,
        slice_: SliceKey | Attempt,
        query: PricedDay,
        *,
        table: TableName,
        schema: TableSchema,
        run_id: str,
        now: datetime,
        settle_days: int,
    ) -> LedgerRow:
        """Make a query's rows the content of their partition; otherwise as `publish_rows`.

        Raises:
            InputChangedError: a table that the query reads changed while it ran; the partition
                holds content that no row describes. Make it again under a new attempt.
        """
        work = Publication(
            attempt=self._attempt(slice_),
            table=table,
            run_id=run_id,
            now=now,
            settle_days=settle_days,
            content_hash=query.content_hash,
            source_pages=query.source_pages,
            inputs=query.inputs,
            shown_finality=query.shown_finality,
        )

        def publish() -> JobOutcome:
            outcome = query_partition(
                self._warehouse,
                table,
                work.key.day,
                query.sql_path,
                schema=schema,
                identifiers=query.identifiers,
                params=query.params,
                max_bytes=query.max_bytes,
                job_base=work.job_base,
                job_labels=work.job_labels,
                inputs_stand=query.inputs_stand,
            )
            if query.inputs_stand is not None and not query.inputs_stand(outcome):
                raise InputChangedError(
                    "A table changed while a slice was computed from it",
                    slice=work.key.id,
                    tables=[one.table for one in query.inputs],
                )
            return outcome

        return self._publish(work, publish, totals=lambda: self._totals(query))

    def confirm_unchanged(
        self,
        attempts: Sequence[Attempt],
        *,
        table: TableName,
        run_id: str,
        now: datetime,
        settle_days: int,
    ) -> dict[SliceKey, LedgerRow]:
        """Record that slices of one table are unchanged, for a source that says what changed.

        All slices cost one read of the partitions and one append.

        Returns:
            The written rows. A slice has none where it must be published: it never was, or its
            partition changed since the ledger's job. It has none either where a newer attempt
            has taken it over.
        """
        known = [(one, one.previous) for one in attempts if one.previous is not None]
        writes = partition_writes(self._warehouse, table, [one.key.day for one, _ in known])
        rows: list[LedgerRow] = []
        for attempt, previous in known:
            work = Publication(
                attempt=attempt,
                table=table,
                run_id=run_id,
                now=now,
                settle_days=settle_days,
                content_hash=previous.content_hash,
                source_pages=previous.source_pages,
            )
            intact = _is_intact(previous, writes.get(attempt.key.day))
            if intact and not self._overtaken_by(attempt):
                rows.append(work.build_unread_row(previous))
        if rows:
            self._ledger.append_rows(rows)
        return {row.key: row for row in rows}

    def _attempt(self, slice_: SliceKey | Attempt) -> Attempt:
        return slice_ if isinstance(slice_, Attempt) else self.begin_attempts([slice_])[slice_]

    def _publish(
        self,
        work: Publication,
        publish: Callable[[], JobOutcome],
        *,
        totals: Callable[[], tuple[Money, ...]],
        guard: ShrinkGuard = DEFAULT_GUARD,
    ) -> LedgerRow:
        self._stop_if_overtaken(work.attempt, after=False)
        row = self._unchanged(work) or self._keep_published(work, guard)
        if row is None:
            outcome = publish()
            summed = totals()
            self._stop_if_overtaken(work.attempt, after=True)
            row = work.build_published_row(outcome, summed)
        self._ledger.append_rows([row])
        return row

    def _unchanged(self, work: Publication) -> LedgerRow | None:
        """Return the row to write when the partition already has this content, else None.

        The ledger alone does not suffice: the partition must be unchanged since the ledger's job.
        """
        previous = work.attempt.previous
        if previous is None or work.is_changed:
            return None
        intact = self.is_as_recorded(previous, work.table)
        return work.build_unchanged_row(previous) if intact else None

    def _keep_published(self, work: Publication, guard: ShrinkGuard) -> LedgerRow | None:
        """Return the row to write when the published content stays, or None to publish.

        Raises:
            WouldShrinkError: the content is refused. So is content that would wait for its
                confirmation while the partition does not hold what was published before.
        """
        previous, attempt = work.attempt.previous, work.attempt
        decision = guard.decide(
            work.figures,
            content_hash=work.content_hash,
            read_at=work.now,
            published=previous,
            pending=attempt.pending,
        )
        if previous is None or decision.lower is None:
            return None
        keeps = decision.verdict is Verdict.KEEP
        if keeps and previous.is_valid and self.is_as_recorded(previous, work.table):
            return work.build_pending_row(previous, decision.lower)
        self._ledger.append_rows([work.build_refused_row(previous, decision.lower)])
        raise build_shrink_error(previous, decision)

    def _stop_if_overtaken(self, attempt: Attempt, *, after: bool) -> None:
        newest = self._overtaken_by(attempt)
        if newest is not None:
            raise SupersededError(
                "A newer attempt at the slice overtook this one",
                slice=attempt.key.id,
                attempt=attempt.number,
                newest=newest,
                after=after,
            )

    def _overtaken_by(self, attempt: Attempt) -> int | None:
        """Return the newest attempt's number where it is higher, else None."""
        with self._store.read() as conn:
            newest = newest_attempt(conn, attempt.key.id)
        return newest if newest > attempt.number else None

    def _known(self, keys: Sequence[SliceKey]) -> dict[SliceKey, SliceHistory]:
        """Return the ledger's history of these slices, with one query per pipeline."""
        by_pipeline: dict[str, list[SliceKey]] = defaultdict(list)
        for key in keys:
            by_pipeline[key.pipeline_id].append(key)
        known: dict[SliceKey, SliceHistory] = {}
        for pipeline_id, group in by_pipeline.items():
            known |= self._ledger.read_history(
                orgs=[key.org_slug for key in group],
                pipeline_id=pipeline_id,
                since=min(key.day for key in group),
            )
        return known

    def _totals(self, query: PricedDay) -> tuple[Money, ...]:
        if query.totals_path is None:
            return ()
        rows = run_file(
            self._warehouse, query.totals_path, identifiers=query.identifiers, params=query.params
        )
        return tuple(
            sorted(
                Money(currency=row["currency"], basis=row["basis"], amount=row["amount"])
                for row in rows
            )
        )


def _is_intact(previous: LedgerRow, write: PartitionWrite | None) -> bool:
    if is_intact(write, rows=previous.row_count, written_by=previous.job_ended_at):
        return True
    message = "%s was written after job %s, by something else; publishing it again"
    log.warning(message, previous.key.id, previous.job_id)
    return False
