"""Publish one table's days for one org, each fenced, until each has ended in a ledger state."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from convergence.errors import (
    FatalError,
    InputChangedError,
    RetryableError,
    SupersededError,
)
from convergence.processors.context import OrgContext
from convergence.processors.lib.daily.overtaken import Leaving, Overtaken, taken_over
from convergence.runs.ledger import Action, LedgerRow, Replaced, SliceEnd
from convergence.runs.publisher import Attempt
from convergence.runs.slices import Finality, SliceKey
from convergence.state.attempts import Holder
from convergence.warehouse.day_file import Money

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
        superseded: days that a newer attempt ended; its row is in the ledger.
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
    """Make and publish the content of each day, until each has ended in a state of the ledger.

    Attempts are taken before the content is made, so a higher one has newer content. A day that
    was overtaken is left to the newer attempt once that one has ended it, and made again where
    it has not.

    Raises:
        SupersededError: others keep overtaking, or work on a day until this step's time is over.
        RetryableError: the task is being stopped.
        FatalError: `make` passed over a day.
    """
    published = Published()
    keys = {day: _key(org, day, table) for day in days}
    left = taken_over(org, keys)
    todo = [day for day in days if day not in left]
    for round_ in range(MOST_ROUNDS):
        again: list[date] = []
        if todo:
            overtaken, again = _publish_round(org, todo, round_, published, table=table, make=make)
            left |= overtaken
        if left:
            org.log.info("overtaken by newer attempts: %s", _told(sorted(left)))
            settled = Leaving(org, keys).settle(left)
            org.ledger.append_rows(list(settled.superseded.values()))
            published.superseded.extend(sorted(settled.superseded))
            again += settled.again
        todo, left = sorted(again, reverse=True), {}
        if not todo:
            return published
    raise SupersededError(
        "Newer attempts keep overtaking this one", table=table, days=[str(day) for day in todo]
    )


def _publish_round(
    org: OrgContext,
    days: Sequence[date],
    round_: int,
    published: Published,
    *,
    table: str,
    make: Make,
) -> tuple[dict[date, Overtaken], list[date]]:
    """Take an attempt at each day and publish it.

    Returns:
        The days that newer attempts overtook, and those whose inputs changed meanwhile.
    """
    overtaken: dict[date, Overtaken] = {}
    again: list[date] = []
    remaining = set(days)
    with org.publisher.hold_heartbeat(org.run_id) as holder:
        taken = attempts(org, days, table=table, holder=holder)
        for day, publish in make(taken, round_):
            if org.stop.is_set():
                raise RetryableError("The task was stopped", next_day=day.isoformat())
            remaining.discard(day)
            if publish is None:
                continue
            try:
                published.rows[day] = publish()
            except SupersededError as error:
                after = bool(error.details.get("after"))
                overtaken[day] = Overtaken(taken[day].number, published=after)
            except InputChangedError:
                again.append(day)
    if remaining:
        raise FatalError("The step passed over days", table=table, days=_told(sorted(remaining)))
    return overtaken, again


def attempts(
    org: OrgContext, days: Sequence[date], *, table: str, holder: Holder | None = None
) -> dict[date, Attempt]:
    """A new attempt at each day, with the holder's heartbeat."""
    keys = [_key(org, day, table) for day in days]
    taken = org.publisher.begin_attempts(keys, holder=holder)
    return {key.day: attempt for key, attempt in taken.items()}


def not_observable(org: OrgContext, days: Sequence[date], *, table: str) -> None:
    """Record that the provider says nothing about the days any more; no job, no new attempt.

    A number of its own would overtake a run that observed the day while it still could.
    """
    keys = [_key(org, day, table) for day in days]
    newest = org.publisher.read_newest_attempts(keys) if keys else {}
    org.ledger.append_rows(
        [
            SliceEnd(
                key=key,
                action=Action.NOT_OBSERVABLE,
                attempt=newest[key].number if key in newest else 0,
                run_id=org.run_id,
                finality=Finality.FINAL,
                checked_at=org.now(),
            )
            for key in keys
        ]
    )


def _key(org: OrgContext, day: date, table: str) -> SliceKey:
    return SliceKey(org.org_slug, org.pipeline.pipeline_id, table, day)


def done_before(org: OrgContext, *, table: str) -> set[date]:
    """Days that an earlier try of this work has published.

    A first try has none, and neither has the first try of a task that a person cleared.
    """
    if not org.resumes or not org.days:
        return set()
    return {
        row.key.day
        for row in ledger_rows(org, org.days, table=table)
        if row.run_id == org.run_id and (org.began_at is None or row.checked_at >= org.began_at)
    }


def ledger_rows(org: OrgContext, days: Sequence[date], *, table: str) -> Iterator[LedgerRow]:
    """The newest row that says what is published, of each day that has one.

    A row in another state (REFUSED, NOT_OBSERVABLE, SUPERSEDED) is never among them.
    """
    latest = org.ledger.read_latest(
        orgs=[org.org_slug], pipeline_id=org.pipeline.pipeline_id, since=min(days)
    )
    wanted = set(days)
    return (row for key, row in latest.items() if key.table == table and key.day in wanted)


def _told(days: Sequence[date]) -> str:
    return ", ".join(day.isoformat() for day in days)
