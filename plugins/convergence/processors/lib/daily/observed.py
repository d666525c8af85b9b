"""Days of a source that says only how things are now: one can be observed, the others no more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from convergence.processors.context import OrgContext
from convergence.processors.lib.daily.slices import attempts, ledger_rows, not_observable
from convergence.warehouse.names import TableName


@dataclass(frozen=True, slots=True)
class ObservedDays:
    """The requested days of a table that is filled by observation.

    Attributes:
        todo: the day to observe, if it is requested and not observed yet.
        kept: days whose content stays.
        missed: days that nobody observed and nobody can observe any more.
    """

    todo: list[date]
    kept: list[date]
    missed: list[date]

    def details(self) -> dict[str, Any]:
        """How many days stay as they are, and which days nobody observed."""
        return {
            "days_kept": len(self.kept),
            "days_not_observed": [day.isoformat() for day in sorted(self.missed)],
        }


def observed_days(
    org: OrgContext, *, table: str, observable: date, once: bool = False
) -> ObservedDays:
    """Sort the requested days, and record those that can't be observed as NOT_OBSERVABLE.

    Args:
        org: whose days.
        table: of the org's dataset.
        observable: the one day that an observation made now is about.
        once: whether an observation is not repeated by another run. It is where a person cleared
            the task, or where its partition is not as it was published.
    """
    published = {row.key.day for row in ledger_rows(org, org.days, table=table)}
    past = [day for day in org.days if day != observable]
    not_observable(org, past, table=table)
    kept = sorted(published.intersection(past))
    todo = [observable] if observable in org.days else []
    if once and todo and observable in published and not _is_to_repeat(org, table=table):
        todo = _unless_intact(org, todo, table=table)
        kept = kept if todo else [*kept, observable]
    return ObservedDays(todo, kept, sorted(set(past) - published))


def _is_to_repeat(org: OrgContext, *, table: str) -> bool:
    """Whether a person asked for a new observation that no try has made yet."""
    if not org.cleared or org.began_at is None:
        return False
    rows = ledger_rows(org, org.days, table=table)
    mine = [row for row in rows if row.run_id == org.run_id and row.checked_at >= org.began_at]
    return not (org.resumes and mine)


def _unless_intact(org: OrgContext, days: Sequence[date], *, table: str) -> list[date]:
    """Record the days as UNCHANGED; the days whose partitions are not as they were published."""
    taken = attempts(org, days, table=table)
    confirmed = org.publisher.confirm_unchanged(
        list(taken.values()),
        table=TableName(org.dataset, table),
        run_id=org.run_id,
        now=org.now(),
        settle_days=org.pipeline.settle_days,
    )
    return [day for day, attempt in taken.items() if attempt.key not in confirmed]
