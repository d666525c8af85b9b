"""Days of a source that reports only its present state: one day can be observed, no other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from convergence.processors.context import OrgContext
from convergence.processors.lib.daily.slices import (
    list_ledger_rows,
    record_not_observable,
    take_attempts,
)
from convergence.warehouse.names import TableName


@dataclass(frozen=True, slots=True)
class ObservedDays:
    """The requested days of a table that is filled by observation.

    Attributes:
        pending: the day to observe, if it is requested and not observed yet.
        kept: days that keep their content.
        missed: days that were not observed and can no longer be observed.
    """

    pending: list[date]
    kept: list[date]
    missed: list[date]

    def build_details(self) -> dict[str, Any]:
        """Count the days that keep their content, and list the days that were not observed."""
        return {
            "days_kept": len(self.kept),
            "days_not_observed": [day.isoformat() for day in sorted(self.missed)],
        }


def sort_observed_days(
    org: OrgContext, *, table: str, observable: date, repeat: bool = True
) -> ObservedDays:
    """Sort the requested days, and record days that can't be observed as NOT_OBSERVABLE.

    Args:
        org: the org and its requested days.
        table: the table's name in the org's dataset.
        observable: the one day that an observation made now describes.
        repeat: whether another run repeats an observation. Without it, an observation is made
            again only where a person cleared the task, or where its partition was changed after
            its publication.
    """
    published = {row.key.day for row in list_ledger_rows(org, org.days, table=table)}
    past = [day for day in org.days if day != observable]
    record_not_observable(org, past, table=table)
    kept = sorted(published.intersection(past))
    pending = [observable] if observable in org.days else []
    if (
        not repeat
        and pending
        and observable in published
        and not _is_repeat_requested(org, table=table)
    ):
        pending = _confirm_intact_days(org, pending, table=table)
        kept = kept if pending else [*kept, observable]
    return ObservedDays(pending, kept, sorted(set(past) - published))


def _is_repeat_requested(org: OrgContext, *, table: str) -> bool:
    """Return whether a person requested a new observation that no try has made yet."""
    if not org.cleared or org.began_at is None:
        return False
    rows = list_ledger_rows(org, org.days, table=table)
    rows_of_run = [
        row for row in rows if row.run_id == org.run_id and row.checked_at >= org.began_at
    ]
    return not (org.resumes and rows_of_run)


def _confirm_intact_days(org: OrgContext, days: Sequence[date], *, table: str) -> list[date]:
    """Record intact days as UNCHANGED; return the days whose partitions were changed."""
    taken = take_attempts(org, days, table=table)
    confirmed = org.publisher.confirm_unchanged(
        list(taken.values()),
        table=TableName(org.dataset, table),
        run_id=org.run_id,
        now=org.now(),
        settle_days=org.pipeline.settle_days,
    )
    return [day for day, attempt in taken.items() if attempt.key not in confirmed]
