"""Publish one table's days for one org, each fenced, until none of them was overtaken midway."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from convergence.errors import InputChangedError, RetryableError, SupersededError
from convergence.processors.context import OrgContext
from convergence.runs.ledger import Action, LedgerRow, Replaced
from convergence.runs.publisher import Attempt
from convergence.runs.slices import Finality, SliceKey
from convergence.warehouse.sealed import Money

MOST_ROUNDS = 3
"""How often content is made anew because another attempt published in between."""
MOST_TOLD = 50
"""Restated days in a step's answer; the ledger has them all."""

Publish = Callable[[], LedgerRow]
Make = Callable[[Mapping[date, Attempt], int], Iterable[tuple[date, Publish | None]]]
"""(attempts by day, round) → each day, newest first, with what publishes it.

None for a day that has no content yet and needs none, such as the present day.
"""


@dataclass
class Published:
    """What became of the days.

    Attributes:
        rows: the ledger's row of each day that was published or found unchanged.
        superseded: days that a newer attempt took over before this one published.
    """

    rows: dict[date, LedgerRow] = field(default_factory=dict)
    superseded: list[date] = field(default_factory=list)

    @property
    def row_count(self) -> int:
        """Rows in all these days."""
        return sum(row.row_count for row in self.rows.values())

    def facts(self) -> dict[str, Any]:
        """How many days ended how; what had been final and was not tells old and new totals."""
        unchanged = sum(row.action is Action.UNCHANGED for row in self.rows.values())
        restated = [
            _restatement(row.replaced, by=row)
            for _, row in sorted(self.rows.items(), reverse=True)
            if row.finality is Finality.RESTATED and row.replaced is not None
        ]
        counts = {
            "days_published": len(self.rows) - unchanged,
            "days_unchanged": unchanged,
            "days_superseded": len(self.superseded),
        }
        if not restated:
            return counts
        return {**counts, "days_restated": len(restated), "restated": restated[:MOST_TOLD]}


def _restatement(old: Replaced, *, by: LedgerRow) -> dict[str, Any]:
    return {
        "day": by.key.day.isoformat(),
        "rows": by.row_count,
        "previous_rows": old.row_count,
        "totals": _sums(by.totals),
        "previous_totals": _sums(old.totals),
        "previous_run_id": old.run_id,
    }


def _sums(totals: Iterable[Money]) -> list[dict[str, str]]:
    return [
        {"currency": one.currency, "basis": one.basis, "amount": format(one.amount, "f")}
        for one in totals
    ]


def publish_days(org: OrgContext, days: Sequence[date], *, table: str, make: Make) -> Published:
    """Make and publish the content of each day.

    Attempts are taken before the content is made, so a higher one has newer content. A day that
    was overtaken after it was published is made and published again.

    Raises:
        SupersededError: others keep overtaking.
        RetryableError: the task is being stopped.
    """
    published = Published()
    todo = list(days)
    for round_ in range(MOST_ROUNDS):
        overtaken: list[date] = []
        for day, publish in make(attempts(org, todo, table=table), round_):
            if org.stop.is_set():
                raise RetryableError("The task was stopped", next_day=day.isoformat())
            if publish is None:
                continue
            try:
                published.rows[day] = publish()
            except SupersededError as error:
                again = bool(error.facts.get("after"))
                (overtaken if again else published.superseded).append(day)
            except InputChangedError:
                overtaken.append(day)
        if not overtaken:
            return published
        org.log.info("overtaken while publishing, once more: %s", _told(overtaken))
        todo = overtaken
    raise SupersededError(
        "Newer attempts keep overtaking this one", table=table, days=[str(day) for day in todo]
    )


def attempts(org: OrgContext, days: Sequence[date], *, table: str) -> dict[date, Attempt]:
    """A new attempt at each day."""
    keys = [SliceKey(org.org_slug, org.pipeline.pipeline_id, table, day) for day in days]
    return {key.day: attempt for key, attempt in org.publisher.begin(keys).items()}


def done_before(org: OrgContext, *, table: str) -> set[date]:
    """Days that an earlier try of this very run has published; a first try has none."""
    if org.attempt == 1 or not org.days:
        return set()
    return {
        row.key.day for row in ledger_rows(org, org.days, table=table) if row.run_id == org.run_id
    }


def ledger_rows(org: OrgContext, days: Sequence[date], *, table: str) -> Iterator[LedgerRow]:
    """The newest row that says what is published, of each day that has one.

    A row in another state (REFUSED, NOT_OBSERVABLE, SUPERSEDED) is never among them.
    """
    latest = org.ledger.latest(
        orgs=[org.org_slug], pipeline_id=org.pipeline.pipeline_id, since=min(days)
    )
    wanted = set(days)
    return (row for key, row in latest.items() if key.table == table and key.day in wanted)


def _told(days: Sequence[date]) -> str:
    return ", ".join(day.isoformat() for day in days)
