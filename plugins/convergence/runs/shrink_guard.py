"""Decide whether a read of a day may replace published content that holds more.

Only tables that hold what a source states are guarded: their day files have figures. A read is
lower when a gross amount, a quantity or the row count falls by more than a limit, or when a day
that had rows has none.

- Content of a FINAL day, and a day that became empty, is refused unless a person accepts it.
- On other days the first lower read is kept back (`lower_pending`). A later read with equal amounts
  and quantities confirms it; lower reads that keep disagreeing are refused.

The first publication of a day has nothing to be compared with, and neither has content that was
published without figures.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final, NamedTuple, Self

from convergence.errors import WouldShrinkError
from convergence.runs.figure_columns import LowerRead
from convergence.runs.ledger_rows import LedgerRow
from convergence.runs.slices import Finality
from convergence.warehouse.day_file import Figures, Measure

ACCEPT_SHRINK: Final = "accept_shrink"
"""The run parameter with an acceptance."""
MAX_DISAGREEING_READS: Final = 3
"""The lower read in a row, each unlike the one before, that is refused."""
_FINAL: Final = frozenset({Finality.FINAL, Finality.RESTATED})


class LossKind(StrEnum):
    """The figure that fell."""

    AMOUNT = "amount"
    QUANTITY = "quantity"
    ROWS = "rows"
    EMPTY = "empty"


class Loss(NamedTuple):
    """A figure of a read that is lower than the published one by more than its limit."""

    kind: LossKind
    unit: str
    published: Decimal
    read: Decimal

    def __str__(self) -> str:
        """Return it as a person reads it: `amount in USD 100 -> 40`."""
        name = f"{self.kind} in {self.unit}" if self.unit else str(self.kind)
        return f"{name} {_format_number(self.published)} -> {_format_number(self.read)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShrinkLimits:
    """The losses that a table's days may have without question.

    Attributes:
        amount_share: share of a gross amount or quantity, 0 to 1.
        amount: units of the currency; a loss must exceed the share and this.
        rows_share: share of the rows, 0 to 1.
    """

    amount_share: Decimal = Decimal("0.05")
    amount: Decimal = Decimal(1)
    rows_share: Decimal = Decimal("0.20")


@dataclass(frozen=True, slots=True, kw_only=True)
class ShrinkAcceptance:
    """A person's decision that lower content of some days may be published.

    Attributes:
        first: first UTC day.
        last: last UTC day, inclusive.
        reason: in the person's words.
        orgs: the orgs that it is for; none for every org of the run.
    """

    first: date
    last: date
    reason: str
    orgs: tuple[str, ...] = ()

    @classmethod
    def from_param(cls, value: object) -> Self | None:
        """Read the run parameter `accept_shrink`, which was checked with the run's params.

        Anything but an object accepts nothing.
        """
        if not isinstance(value, Mapping):
            return None
        return cls(
            first=date.fromisoformat(value["start_date"]),
            last=date.fromisoformat(value["end_date"]),
            reason=str(value["reason"]),
            orgs=tuple(value.get("orgs") or ()),
        )

    def covers(self, org_slug: str, day: date) -> bool:
        """Return whether lower content of the org's day may be published."""
        return self.first <= day <= self.last and (not self.orgs or org_slug in self.orgs)


class Verdict(StrEnum):
    """What happens to a read."""

    PUBLISH = "publish"
    KEEP = "keep"
    """The published content stays, and the read waits for its confirmation."""
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Decision:
    """The decision about one read.

    Attributes:
        verdict: what happens to it.
        losses: why; none for a read that is not lower.
        lower: what the ledger keeps of a read that is not published.
    """

    verdict: Verdict
    losses: tuple[Loss, ...] = ()
    lower: LowerRead | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ShrinkGuard:
    """The guard of one read of one day.

    Attributes:
        limits: of the table.
        accepted: the run's acceptance.
        end_proved: whether the source proved that the read has all rows. A read without proof
            confirms no lower read.
        invoiced: whether the rows carry their invoice: the source has closed the day, so a lower
            read needs no confirmation.
    """

    limits: ShrinkLimits = ShrinkLimits()
    accepted: ShrinkAcceptance | None = None
    end_proved: bool = True
    invoiced: bool = False

    def decide(
        self,
        figures: Figures | None,
        *,
        content_hash: str,
        read_at: datetime,
        published: LedgerRow | None,
        pending: LowerRead | None,
    ) -> Decision:
        """Decide about a read.

        Args:
            figures: of the read; None where the table is not guarded.
            content_hash: of the read.
            read_at: a time before the source was read, aware.
            published: the newest ledger row with content.
            pending: the lower read that the ledger keeps since then.
        """
        if figures is None or published is None or published.figures is None:
            return Decision(Verdict.PUBLISH)
        losses = tuple(find_losses(published.figures, figures, limits=self.limits))
        if not losses or self._is_accepted(published):
            return Decision(Verdict.PUBLISH, losses)
        lower = _follow(pending, figures, content_hash=content_hash, read_at=read_at)
        if published.finality in _FINAL or any(one.kind is LossKind.EMPTY for one in losses):
            return Decision(Verdict.REFUSE, losses, lower)
        if self.invoiced or (self.end_proved and lower.is_confirmable(read_at)):
            return Decision(Verdict.PUBLISH, losses)
        if lower.reads >= MAX_DISAGREEING_READS:
            return Decision(Verdict.REFUSE, losses, lower)
        return Decision(Verdict.KEEP, losses, lower)

    def _is_accepted(self, published: LedgerRow) -> bool:
        key = published.key
        return self.accepted is not None and self.accepted.covers(key.org_slug, key.day)


DEFAULT_GUARD: Final = ShrinkGuard()
"""The guard with the default limits, without acceptance."""


def find_losses(before: Figures, now: Figures, *, limits: ShrinkLimits) -> Iterator[Loss]:
    """Yield the figures of `now` that are lower than those of `before` by more than the limits.

    Where the query versions differ, rows are not compared, and of the quantities only those that
    both have: another query may measure others.
    """
    if before.rows and not now.rows:
        yield Loss(LossKind.EMPTY, "rows", Decimal(before.rows), Decimal(0))
        return
    same = before.query_version == now.query_version
    amounts, quantities = _by_unit(now.gross), _by_unit(now.quantities)
    for one in before.gross:
        read = amounts.get(one.unit, Decimal(0))
        lost = one.amount - read
        if lost > limits.amount and lost > limits.amount_share * one.amount:
            yield Loss(LossKind.AMOUNT, one.unit, one.amount, read)
    for one in before.quantities:
        if not same and one.unit not in quantities:
            continue
        read = quantities.get(one.unit, Decimal(0))
        if _is_lost(one, read, before.gross, limits=limits):
            yield Loss(LossKind.QUANTITY, one.unit, one.amount, read)
    if same and before.rows - now.rows > limits.rows_share * before.rows:
        yield Loss(LossKind.ROWS, "", Decimal(before.rows), Decimal(now.rows))


def _is_lost(
    before: Measure, read: Decimal, gross: Sequence[Measure], *, limits: ShrinkLimits
) -> bool:
    """Return whether a quantity fell by more than the limits.

    The units of different quantities can't be compared with an amount. So the lost share of the
    quantity is taken of the day's gross amounts; a day without amounts has one unit as its limit.
    """
    lost = before.amount - read
    if lost <= limits.amount_share * before.amount:
        return False
    if not gross:
        return lost > 1
    return any(one.amount * lost > limits.amount * before.amount for one in gross)


def _follow(
    pending: LowerRead | None, figures: Figures, *, content_hash: str, read_at: datetime
) -> LowerRead:
    """Return the read as the ledger keeps it: the one before if both agree, else the next one."""
    if pending is not None and _agree(pending.figures, figures):
        return pending
    return LowerRead(
        figures=figures,
        content_hash=content_hash,
        read_at=read_at,
        reads=1 if pending is None else pending.reads + 1,
        refused_by=None if pending is None else pending.refused_by,
    )


def _agree(one: Figures, other: Figures) -> bool:
    """Return whether two reads have the same amounts and quantities."""
    return _by_unit(one.gross) == _by_unit(other.gross) and _by_unit(one.quantities) == _by_unit(
        other.quantities
    )


def _by_unit(measures: Sequence[Measure]) -> dict[str, Decimal]:
    return {one.unit: one.amount for one in measures}


def build_shrink_error(published: LedgerRow, decision: Decision) -> WouldShrinkError:
    """Build the error of a refused read, with the published figures and the ones that were read."""
    return WouldShrinkError(
        "The source states less than what is published; the published content stays",
        table=published.key.table,
        day=published.key.day.isoformat(),
        losses=[str(one) for one in decision.losses],
        finality=published.finality.value,
        published=None if published.figures is None else describe_figures(published.figures),
        read=None if decision.lower is None else describe_figures(decision.lower.figures),
        published_by=published.run_id,
    )


def describe_figures(figures: Figures) -> dict[str, Any]:
    """Return figures as JSON values, amounts as text."""
    return {
        "rows": figures.rows,
        "gross": {one.unit: _format_number(one.amount) for one in figures.gross},
        "quantities": {one.unit: _format_number(one.amount) for one in figures.quantities},
    }


def _format_number(number: Decimal) -> str:
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
