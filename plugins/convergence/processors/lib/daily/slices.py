"""Publish the days of one table for one org, until each day has ended in a ledger state."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from convergence.errors import (
    InputChangedError,
    InputNotAsRecordedError,
    RetryableError,
    SupersededError,
    WouldShrinkError,
)
from convergence.processors.context import OrgContext
from convergence.processors.lib.daily.day_source import DayContent, DaySource
from convergence.processors.lib.daily.overtaken import (
    NewerAttempts,
    OvertakenDay,
    find_taken_over,
)
from convergence.runs.ledger import Action, LedgerRow, Replaced, SliceEnd
from convergence.runs.publisher import Attempt
from convergence.runs.shrink_guard import ACCEPT_SHRINK, ShrinkAcceptance, ShrinkGuard
from convergence.runs.slices import Finality, SliceKey
from convergence.state.attempts import Holder
from convergence.warehouse.day_file import DayFile, Money
from convergence.warehouse.names import TableName

MAX_ROUNDS = 3
"""Maximum times that content is made again because another attempt published in between."""
MAX_REFUSED_DAYS = 10
"""Refused days in an error; the ledger has all of them."""
MAX_RESTATED_DAYS = 50
"""Restated days in a step's result; the ledger has all of them."""


@dataclass
class Published:
    """Result of publishing days.

    Attributes:
        rows: the ledger row of each day that was published or found unchanged.
        superseded: days that a newer attempt ended; its row is in the ledger.
        refused: days whose new content is lower than the published content, which stays.
    """

    rows: dict[date, LedgerRow] = field(default_factory=dict)
    superseded: list[date] = field(default_factory=list)
    refused: dict[date, WouldShrinkError] = field(default_factory=dict)

    @property
    def row_count(self) -> int:
        """The number of rows in all these days."""
        return sum(row.row_count for row in self.rows.values())

    def build_details(self) -> dict[str, Any]:
        """Count the days by result; list restated days with their old and new totals."""
        unchanged = sum(row.action is Action.UNCHANGED for row in self.rows.values())
        restated = [
            _describe_restatement(row.replaced, by=row)
            for _, row in sorted(self.rows.items(), reverse=True)
            if row.finality is Finality.RESTATED and row.replaced is not None
        ]
        counts: dict[str, Any] = {
            "days_published": len(self.rows) - unchanged,
            "days_unchanged": unchanged,
            "days_superseded": len(self.superseded),
        }
        if pending := self._list_pending():
            counts["days_lower_pending"] = pending
        if not restated:
            return counts
        return {
            **counts,
            "days_restated": len(restated),
            "restated": restated[:MAX_RESTATED_DAYS],
        }

    def _list_pending(self) -> list[str]:
        """Return the days of which a lower read waits for its confirmation."""
        return [
            day.isoformat()
            for day, row in sorted(self.rows.items())
            if row.lower_pending is not None
        ]

    def raise_refused(self) -> None:
        """Raise one error for all refused days, if there are any.

        Raises:
            WouldShrinkError: its details have the figures of each day, newest first, and the
                result of the other days.
        """
        if not self.refused:
            return
        days = [self.refused[day].details for day in sorted(self.refused, reverse=True)]
        described = "; ".join(_describe_refused_day(one) for one in days[:MAX_REFUSED_DAYS])
        raise WouldShrinkError(
            "The source states less than what is published, which stays. If it is right, run "
            f"these days again with accept_shrink. {described}",
            report={**self.build_details(), "refused": days[:MAX_RESTATED_DAYS]},
            days_refused=len(days),
        )


def _describe_refused_day(details: Mapping[str, object]) -> str:
    losses = details.get("losses")
    shown = ", ".join(map(str, losses)) if isinstance(losses, list) else ""
    return f"{details.get('table')} {details.get('day')}: {shown}"


def _describe_restatement(old: Replaced, *, by: LedgerRow) -> dict[str, Any]:
    return {
        "day": by.key.day.isoformat(),
        "rows": by.row_count,
        "previous_rows": old.row_count,
        "totals": _format_totals(by.totals),
        "previous_totals": _format_totals(old.totals),
        "previous_run_id": old.run_id,
    }


def _format_totals(totals: Iterable[Money]) -> list[dict[str, str]]:
    return [
        {"currency": one.currency, "basis": one.basis, "amount": format(one.amount, "f")}
        for one in totals
    ]


def publish_days(org: OrgContext, source: DaySource, days: Sequence[date]) -> Published:
    """Make and publish the content of each day, until each has ended in a ledger state.

    Attempts are taken before content is made, so a higher attempt has newer content. An overtaken
    day belongs to the newer attempt once that attempt has ended the day; otherwise the day is made
    again.

    Raises:
        SupersededError: others keep overtaking, or work on a day until this step's time is over.
        RetryableError: the task is being stopped.
        WouldShrinkError: days hold less than what is published; the other days are published.
    """
    published = publish_accepted_days(org, source, days)
    published.raise_refused()
    return published


def publish_accepted_days(org: OrgContext, source: DaySource, days: Sequence[date]) -> Published:
    """Publish as `publish_days`, and return refused days instead of raising an error for them.

    The caller must call `Published.raise_refused` when all its work is done.
    """
    published = Published()
    keys = {day: _build_key(org, day, table=source.table) for day in days}
    overtaken = find_taken_over(org, keys)
    pending = [day for day in days if day not in overtaken]
    for round_number in range(MAX_ROUNDS):
        again: list[date] = []
        if pending:
            found, again = _publish_round(org, source, pending, round_number, published)
            overtaken |= found
        if overtaken:
            org.log.info("overtaken by newer attempts: %s", _join_days(sorted(overtaken)))
            settled = NewerAttempts(org, keys).wait_until_settled(overtaken)
            org.ledger.append_rows(list(settled.superseded.values()))
            published.superseded.extend(sorted(settled.superseded))
            again += settled.again
        pending, overtaken = sorted(again, reverse=True), {}
        if not pending:
            return published
    raise SupersededError(
        "Newer attempts keep overtaking this one",
        table=source.table,
        days=[str(day) for day in pending],
    )


def _publish_round(
    org: OrgContext,
    source: DaySource,
    days: Sequence[date],
    round_number: int,
    published: Published,
) -> tuple[dict[date, OvertakenDay], list[date]]:
    """Take an attempt at each day and publish its content.

    Returns:
        The days that newer attempts overtook, and the days whose inputs changed meanwhile.
    """
    overtaken: dict[date, OvertakenDay] = {}
    again: list[date] = []
    not_as_recorded: InputNotAsRecordedError | None = None
    with org.publisher.hold_heartbeat(org.run_id) as holder:
        attempts = take_attempts(org, days, table=source.table, holder=holder)
        source.prepare(attempts, round_number=round_number)
        for day in sorted(attempts, reverse=True):
            if org.stop.is_set():
                raise RetryableError("The task was stopped", next_day=day.isoformat())
            try:
                content = source.content(day)
            except InputNotAsRecordedError as error:
                not_as_recorded = error
                continue
            # A SupersededError of the source leaves this function: only the publisher's says
            # that the attempt at this day is overtaken.
            try:
                if content is not None:
                    published.rows[day] = publish_content(org, source, attempts[day], content)
            except SupersededError as error:
                after = bool(error.details.get("after"))
                overtaken[day] = OvertakenDay(attempts[day].number, published=after)
            except WouldShrinkError as error:
                org.log.warning("%s", error)
                published.refused[day] = error
            except InputChangedError:
                again.append(day)
    if not_as_recorded is not None:
        raise not_as_recorded
    return overtaken, again


def publish_content(
    org: OrgContext, source: DaySource, attempt: Attempt, content: DayContent | LedgerRow
) -> LedgerRow:
    """Publish the content of one day; errors as `Publisher.publish_rows` and `publish_query`."""
    if isinstance(content, LedgerRow):
        return content
    settle_days = org.pipeline.settle_days if content.settle_days is None else content.settle_days
    if isinstance(content.rows, DayFile):
        return org.publisher.publish_rows(
            attempt,
            content.rows,
            table=TableName(org.dataset, source.table),
            schema=source.schema,
            run_id=org.run_id,
            now=content.read_at,
            settle_days=settle_days,
            guard=ShrinkGuard(
                limits=source.shrink_limits,
                accepted=ShrinkAcceptance.from_param(org.params.get(ACCEPT_SHRINK)),
                end_proved=content.end_proved,
                invoiced=content.invoiced,
            ),
        )
    return org.publisher.publish_query(
        attempt,
        content.rows,
        table=TableName(org.dataset, source.table),
        schema=source.schema,
        run_id=org.run_id,
        now=content.read_at,
        settle_days=settle_days,
    )


def take_attempts(
    org: OrgContext, days: Sequence[date], *, table: str, holder: Holder | None = None
) -> dict[date, Attempt]:
    """Take a new attempt at each day, with the holder's heartbeat."""
    keys = [_build_key(org, day, table=table) for day in days]
    attempts = org.publisher.begin_attempts(keys, holder=holder)
    return {key.day: attempt for key, attempt in attempts.items()}


def record_not_observable(org: OrgContext, days: Sequence[date], *, table: str) -> None:
    """Record that the provider no longer reports these days; this takes no new attempt.

    A new attempt would overtake a run that observed the day while it was still possible.
    """
    keys = [_build_key(org, day, table=table) for day in days]
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


def _build_key(org: OrgContext, day: date, *, table: str) -> SliceKey:
    return SliceKey(org.org_slug, org.pipeline.pipeline_id, table, day)


def find_days_done_before(org: OrgContext, *, table: str) -> set[date]:
    """Return the days that an earlier try of this work has published.

    A first try has none, and neither has the first try of a task that a person cleared.
    """
    if not org.resumes or not org.days:
        return set()
    return {
        row.key.day
        for row in list_ledger_rows(org, org.days, table=table)
        if row.run_id == org.run_id and (org.began_at is None or row.checked_at >= org.began_at)
    }


def list_ledger_rows(org: OrgContext, days: Sequence[date], *, table: str) -> Iterator[LedgerRow]:
    """Yield the newest ledger row with content of each day that has one.

    Rows in another state (REFUSED, NOT_OBSERVABLE, SUPERSEDED) are never among them.
    """
    latest = org.ledger.read_latest(
        orgs=[org.org_slug], pipeline_id=org.pipeline.pipeline_id, since=min(days)
    )
    requested = set(days)
    return (row for key, row in latest.items() if key.table == table and key.day in requested)


def _join_days(days: Sequence[date]) -> str:
    return ", ".join(day.isoformat() for day in days)
