"""One attempt at one slice: its content, its job and its row in the ledger."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path

from convergence.runs.figure_columns import LowerRead
from convergence.runs.ledger import Action, LedgerRow, Replaced, SliceEnd
from convergence.runs.ledger_rows import REATTRIBUTED
from convergence.runs.recovery import content_labels
from convergence.runs.slices import (
    Finality,
    SliceInput,
    SliceKey,
    advance_finality,
    compute_finality,
)
from convergence.warehouse.day_file import Figures, Money
from convergence.warehouse.jobs import JobOutcome
from convergence.warehouse.names import TableName, job_base, partition_id
from convergence.warehouse.params import Param
from convergence.warehouse.query import Identifiers


@dataclass(frozen=True, slots=True)
class Attempt:
    """The right to publish a slice, until an attempt with a higher number exists.

    Take it before the content is made, so that the higher number has the newer content.

    Attributes:
        key: the slice.
        number: the attempt's number.
        previous: the ledger's row with content when the attempt was taken.
        pending: the lower read that the ledger kept at that time.
    """

    key: SliceKey
    number: int
    previous: LedgerRow | None
    pending: LowerRead | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PricedDay:
    """One day as a query makes it.

    Attributes:
        sql_path: the SELECT that gives the day's rows.
        identifiers: for its Jinja.
        params: for its `@names`.
        content_hash: of everything the rows follow from: the inputs' hashes, the SQL's text.
        totals_path: a SELECT of currency, basis, amount over the published day, with the same
            identifiers and params; without it the ledger records no totals.
        source_pages: provider pages behind it.
        max_bytes: that the query may bill; the warehouse's limit when None.
        inputs: the tables that the rows follow from, as `content_hash` has them.
        inputs_stand: whether those tables are, after the job, still what `content_hash` was made
            of; without it nothing is checked.
        shown_finality: by basis of the totals, the finality of the slice whose money is shown; it
            replaces the calendar. Content with other rows and equal totals is then no restatement.
    """

    sql_path: Path
    identifiers: Identifiers = field(default_factory=dict)
    params: Mapping[str, Param] = field(default_factory=dict)
    content_hash: str
    totals_path: Path | None = None
    source_pages: int = 0
    max_bytes: int | None = None
    inputs: tuple[SliceInput, ...] = ()
    inputs_stand: Callable[[JobOutcome], bool] | None = None
    shown_finality: Mapping[str, Finality] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """Fields that both ways of publishing share.

    Attributes:
        attempt: the right to publish.
        table: where to.
        run_id: the org run.
        now: the time of the look, aware.
        settle_days: for how long the provider may change the day.
        content_hash: of what is to be published.
        source_pages: provider pages behind it.
        inputs: what a derived slice is computed from.
        figures: what the shrink guard compares; None where the table is not guarded.
        shown_finality: as `PricedDay.shown_finality`.
    """

    attempt: Attempt
    table: TableName
    run_id: str
    now: datetime
    settle_days: int
    content_hash: str
    source_pages: int
    inputs: tuple[SliceInput, ...] = ()
    figures: Figures | None = None
    shown_finality: Mapping[str, Finality] | None = None

    @property
    def key(self) -> SliceKey:
        """The slice."""
        return self.attempt.key

    @property
    def is_changed(self) -> bool:
        """Whether the ledger had other content, no content, or invalid content."""
        previous = self.attempt.previous
        if previous is None or not previous.is_valid:
            return True
        return previous.content_hash != self.content_hash

    @property
    def job_base(self) -> str:
        """The job's id without its attempt."""
        key = self.key
        return job_base(
            "publish",
            key.org_slug,
            key.table,
            partition_id(key.day),
            self.run_id,
            key.pipeline_id,
            str(self.table),
            self.content_hash,
        )

    @property
    def job_labels(self) -> dict[str, str]:
        """The labels of the job: org, pipeline, table, day, run and content."""
        key = self.key
        return {
            "org": key.org_slug,
            "pipeline": key.pipeline_id,
            "table": key.table,
            "day": partition_id(key.day),
            "run": self.run_id,
            **content_labels(
                self.content_hash, attempt=self.attempt.number, source_pages=self.source_pages
            ),
        }

    @property
    def finality(self) -> Finality:
        """The finality of the day after this check, if the content before stays."""
        previous = self.attempt.previous
        return self._advance_finality(previous.totals if previous else ())

    def _advance_finality(self, totals: tuple[Money, ...]) -> Finality:
        previous = self.attempt.previous
        return advance_finality(
            self._find_calendar(totals),
            before=previous.finality if previous else None,
            changed=self.is_changed and not self._is_reattributed(totals),
        )

    def _find_calendar(self, totals: tuple[Money, ...]) -> Finality:
        if self.shown_finality is None:
            return compute_finality(self.key.day, self.now, self.settle_days)
        shown = {self.shown_finality.get(money.basis, Finality.SETTLING) for money in totals}
        # The least settled of the slices whose money is shown.
        return min(shown, key=list(Finality).index, default=Finality.SETTLING)

    def _find_content_since(self) -> datetime:
        """Return when this content was first read, also where it is written once more."""
        previous = self.attempt.previous
        if previous is None or previous.content_hash != self.content_hash:
            return self.now
        return previous.content_since or self.now

    def _is_reattributed(self, totals: tuple[Money, ...]) -> bool:
        """Return whether new rows divide the total that the day had before."""
        previous = self.attempt.previous
        return (
            self.shown_finality is not None
            and previous is not None
            and previous.is_valid
            and self.is_changed
            and _sum_by_currency(previous.totals) == _sum_by_currency(totals)
        )

    def build_unchanged_row(self, previous: LedgerRow) -> LedgerRow:
        """Return the row of a check that found the day unchanged."""
        return replace(
            previous,
            action=Action.UNCHANGED,
            attempt=self.attempt.number,
            run_id=self.run_id,
            finality=self.finality,
            checked_at=self.now,
            replaced=None,
            change=None,
            inputs=self.inputs,
            figures=self.figures or previous.figures,
            lower_pending=None,
        )

    def build_unread_row(self, previous: LedgerRow) -> LedgerRow:
        """Return the row of a day whose source says, unread, that it has not changed.

        A lower read keeps waiting for its confirmation.
        """
        pending = self.attempt.pending
        if pending is None:
            return self.build_unchanged_row(previous)
        return self.build_pending_row(previous, pending)

    def build_pending_row(self, previous: LedgerRow, lower: LowerRead) -> LedgerRow:
        """Return the row of a lower read that waits: the content stays, the day is due again."""
        row = self.build_unchanged_row(previous)
        waits = row.finality is Finality.FINAL and previous.finality is not Finality.FINAL
        return replace(
            row,
            finality=Finality.SETTLING if waits else row.finality,
            figures=previous.figures,
            lower_pending=lower,
        )

    def build_refused_row(self, previous: LedgerRow, lower: LowerRead) -> SliceEnd:
        """Return the row of a lower read that is refused."""
        settled = previous.finality in {Finality.FINAL, Finality.RESTATED}
        return SliceEnd(
            key=self.key,
            action=Action.REFUSED,
            attempt=self.attempt.number,
            run_id=self.run_id,
            finality=Finality.FINAL
            if settled
            else compute_finality(self.key.day, self.now, self.settle_days),
            checked_at=self.now,
            lower_pending=replace(lower, refused_by=lower.refused_by or self.run_id),
        )

    def build_published_row(self, outcome: JobOutcome, totals: tuple[Money, ...]) -> LedgerRow:
        """Return the row of a job that wrote the day."""
        previous = self.attempt.previous
        return LedgerRow(
            key=self.key,
            action=Action.PUBLISHED,
            attempt=self.attempt.number,
            run_id=self.run_id,
            job_id=outcome.job_id,
            content_hash=self.content_hash,
            row_count=outcome.rows,
            totals=totals,
            source_pages=self.source_pages,
            finality=self._advance_finality(totals),
            change=REATTRIBUTED if self._is_reattributed(totals) else None,
            checked_at=self.now,
            content_since=self._find_content_since(),
            job_ended_at=outcome.ended_at,
            replaced=Replaced.from_row(previous) if previous and self.is_changed else None,
            inputs=self.inputs,
            figures=self.figures,
        )


def _sum_by_currency(totals: tuple[Money, ...]) -> dict[str, Decimal]:
    sums: dict[str, Decimal] = {}
    for money in totals:
        sums[money.currency] = sums.get(money.currency, Decimal(0)) + money.amount
    return {currency: amount for currency, amount in sums.items() if amount}
