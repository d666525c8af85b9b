"""Sources of a table's days: what the publish loop asks for the content of each day."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime

from convergence.runs.ledger import LedgerRow
from convergence.runs.publisher import Attempt, PricedDay
from convergence.runs.shrink_guard import ShrinkLimits
from convergence.warehouse.day_file import DayFile
from convergence.warehouse.schemas import TableSchema


@dataclass(frozen=True, slots=True)
class DayContent:
    """The new content of one day's partition.

    Attributes:
        rows: a file with all rows of the day, or a query that computes them.
        read_at: a time before the source was read for this day.
        settle_days: replaces the pipeline's `settle_days` for this day.
        end_proved: whether the source proved that it gave all rows. A read without proof confirms
            no lower read.
        invoiced: whether the rows carry their invoice: a lower read needs no confirmation then.
    """

    rows: DayFile | PricedDay
    read_at: datetime
    settle_days: int | None = None
    end_proved: bool = True
    invoiced: bool = False


class DaySource(ABC):
    """Content of the days of one table of one org in one run.

    Attributes:
        table: the table's name in the org's dataset.
        schema: the table's schema.
        shrink_limits: the losses that the days may have without question. They count only where
            the day files have figures (`extract.figures.FigureSpec`).
    """

    table: str
    schema: TableSchema
    shrink_limits: ShrinkLimits = ShrinkLimits()

    @abstractmethod
    def prepare(self, attempts: Mapping[date, Attempt], *, round_number: int) -> None:
        """Prepare to make the content of these days.

        The attempts are taken already, so an attempt with a higher number reads newer content.

        Args:
            attempts: the attempt at each day.
            round_number: 0 at first; it rises when days are made again in the same run.
        """

    @abstractmethod
    def content(self, day: date) -> DayContent | LedgerRow | None:
        """Return the content of a day; the loop asks for each prepared day once, newest first.

        Returns:
            The content. A ledger row if the source has confirmed the day as unchanged already.
            None if the day has no content yet and needs none.

        Raises:
            InputNotAsRecordedError: the day cannot be computed; the loop raises this error after
                it has published the other days.
        """
