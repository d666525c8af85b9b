"""The ledger: one appended row per check of a slice; it records the content and how attempts ended.

The publish job decides what is published, not the ledger: a row that is missing, late or doubled
causes a comparison or a repeated job, never a wrong partition.

There are two kinds of rows. Rows in a `CONTENT` state describe the content of the slice's
partition; `read_latest` reads only these. The other rows say how an attempt ended that published
nothing; `read_ends` reads both kinds.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Final

from convergence.errors import ConfigurationError
from convergence.runs.figure_columns import LowerRead
from convergence.runs.ledger_rows import (
    LedgerRow,
    Replaced,
    SliceEnd,
    build_row,
    compute_row_id,
    parse_content,
    parse_end,
)
from convergence.runs.slice_states import CONTENT, Action
from convergence.runs.slices import SliceKey
from convergence.warehouse.client import Warehouse
from convergence.warehouse.names import central_table
from convergence.warehouse.query import Row, run_file
from convergence.warehouse.stream import append_rows

__all__ = [
    "Action",
    "Ledger",
    "LedgerRow",
    "Replaced",
    "SliceEnd",
    "SliceHistory",
]

TABLE: Final = central_table("org_meta_slices")
_EVER: Final = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class SliceHistory:
    """The ledger's state of a slice before an attempt at it.

    Attributes:
        content: the newest row in a `CONTENT` state.
        attempt: the highest number of the rows in any state.
        pending: the lower read that the newest row in any state keeps.
    """

    content: LedgerRow | None
    attempt: int
    pending: LowerRead | None = None


class Ledger:
    """`org_meta_slices`, read by its newest rows and written by appending."""

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse

    def read_latest(
        self, *, orgs: Sequence[str], pipeline_id: str, since: date | None = None
    ) -> dict[SliceKey, LedgerRow]:
        """Return the newest row with content of each slice.

        Newest means the highest attempt, then the latest check: attempts rise even where the
        clocks of two workers differ.

        Args:
            orgs: whose slices; one query for all of them.
            pipeline_id: of which pipeline.
            since: the oldest day of interest. It bounds the query's cost too; without it the
                orgs' whole history is read.

        Raises:
            NotBootstrappedError: the ledger's table is missing.
            WarehouseUnavailableError, WarehouseError: as every query.
        """
        return self.read_latest_of_pipelines([pipeline_id], orgs=orgs, since=since)

    def read_latest_of_pipelines(
        self, pipeline_ids: Collection[str], *, orgs: Sequence[str], since: date | None = None
    ) -> dict[SliceKey, LedgerRow]:
        """Return the same for several pipelines, with one query; errors as `read_latest`."""
        rows = self._read_rows(CONTENT, orgs=orgs, pipeline_ids=pipeline_ids, since=since)
        return {row.key: row for row in map(parse_content, rows)}

    def read_ends(
        self,
        actions: Collection[Action],
        *,
        orgs: Sequence[str],
        pipeline_id: str,
        since: date | None = None,
    ) -> dict[SliceKey, SliceEnd]:
        """Return how the newest attempt at each slice ended, of those in the given states.

        Args:
            actions: the states. `CHECKED` says whether days are due, `ENDING` whether a newer
                attempt has ended a slice.
            orgs: as `latest`, and so are the errors.
            pipeline_id: as `latest`.
            since: as `latest`.
        """
        rows = self._read_rows(actions, orgs=orgs, pipeline_ids=[pipeline_id], since=since)
        found = sorted(map(parse_end, rows), key=lambda end: (end.attempt, end.checked_at))
        return {end.key: end for end in found}

    def read_history(
        self, *, orgs: Sequence[str], pipeline_id: str, since: date | None = None
    ) -> dict[SliceKey, SliceHistory]:
        """Return what an attempt needs to know; arguments and errors as `read_latest`."""
        known: dict[SliceKey, SliceHistory] = {}
        for row in self._read_rows(
            frozenset(Action), orgs=orgs, pipeline_ids=[pipeline_id], since=since
        ):
            end = parse_end(row)
            before = known.get(end.key, SliceHistory(None, 0))
            content = parse_content(row) if end.action in CONTENT else before.content
            newer = end.attempt >= before.attempt
            pending = end.lower_pending if newer else before.pending
            known[end.key] = SliceHistory(content, max(before.attempt, end.attempt), pending)
        return known

    def append_rows(self, rows: Sequence[LedgerRow | SliceEnd]) -> None:
        """Append rows.

        Raises:
            ConfigurationError: a look that precedes the day it looked at; `latest` relies on
                there being none. Or a row whose kind does not fit its state.
            NotBootstrappedError, WarehouseUnavailableError, WarehouseError: as every append.
        """
        for row in rows:
            if row.checked_at < row.key.begins_at:
                raise ConfigurationError("A slice can't be checked before its day", key=row.key.id)
            if isinstance(row, LedgerRow) != (row.action in CONTENT):
                raise ConfigurationError(
                    "A row with content needs a state with content, and no other row may have one",
                    key=row.key.id,
                    action=row.action.value,
                )
        append_rows(self._warehouse, TABLE, [(compute_row_id(row), build_row(row)) for row in rows])

    def invalidate_rows(self, rows: Sequence[LedgerRow], *, run_id: str, now: datetime) -> None:
        """Record that slices must be made again, even from equal inputs.

        A row of a higher attempt outranks this: it describes newer content.

        Args:
            rows: the slices' newest rows; those that are invalid already are left out.
            run_id: the org run that found them wrong.
            now: the present, aware.

        Raises:
            NotBootstrappedError, WarehouseUnavailableError, WarehouseError: as every append.
        """
        invalid = [
            replace(
                row,
                action=Action.INVALIDATED,
                run_id=run_id,
                # Later than the row that it invalidates, whatever the clocks of two workers say.
                checked_at=max(now, row.checked_at + timedelta(milliseconds=1)),
                replaced=None,
            )
            for row in rows
            if row.is_valid
        ]
        if invalid:
            self.append_rows(invalid)

    def _read_rows(
        self,
        actions: Collection[Action],
        *,
        orgs: Sequence[str],
        pipeline_ids: Collection[str],
        since: date | None,
    ) -> Sequence[Row]:
        """Read each slice's newest row with content and newest row without, in these states."""
        if not orgs:
            return ()
        params: Mapping[str, object] = {
            "orgs": sorted(set(orgs)),
            "pipeline_ids": sorted(set(pipeline_ids)),
            "since": since or _EVER,
            "actions": sorted(action.value for action in actions),
            "content": sorted(action.value for action in CONTENT),
        }
        return run_file(self._warehouse, self._warehouse.sql("ledger/latest.sql"), params=params)
