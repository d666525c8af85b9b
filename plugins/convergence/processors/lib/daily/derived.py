"""Days of a table that is computed from other tables of the org's dataset."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from datetime import date, datetime

from convergence.processors.context import OrgContext
from convergence.processors.lib.daily.day_source import DayContent, DaySource
from convergence.processors.lib.daily.inputs import DayInputs, DaysInputs, Inputs
from convergence.runs.publisher import Attempt, PricedDay


class DerivedDays(DaySource):
    """Source of days that a query computes; its inputs must be as the ledger records them."""

    def __init__(self, org: OrgContext) -> None:
        self._org = org
        self._days_inputs = DaysInputs({})
        self._read_at: datetime = org.now()

    @property
    @abstractmethod
    def inputs(self) -> Inputs:
        """The tables that the query reads."""

    @abstractmethod
    def build_query(self, inputs: DayInputs, *, now: datetime) -> PricedDay:
        """Build the query of one day from its inputs."""

    def prepare(self, attempts: Mapping[date, Attempt], *, round_number: int) -> None:
        """Read the inputs of the days. Nothing is kept between rounds: inputs are read again."""
        del round_number
        self._read_at = self._org.now()
        self._days_inputs = self.inputs.read_days(sorted(attempts))
        self.inputs.end_not_observable(self._days_inputs.not_observable, attempts)

    def content(self, day: date) -> DayContent | None:
        """Return the query of the day, or None for a day whose inputs have no content."""
        found = self._days_inputs
        if day in found.days:
            query = self.build_query(found.days[day], now=self._read_at)
            return DayContent(query, self._read_at)
        if found.error is not None and day not in found.not_observable:
            raise found.error
        return None
