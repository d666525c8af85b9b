"""Read what our copy of a billing export holds, and decide by it whose rows a day takes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Protocol

from convergence.processors.context import OrgContext
from convergence.processors.gcp.config import BqEtlConfig
from convergence.processors.gcp.day_copies import Choice, DayKey, choose_rows, group_holdings
from convergence.processors.gcp.exports import ExportTable
from convergence.runs.shrink_guard import ACCEPT_SHRINK, ShrinkAcceptance
from convergence.warehouse.bulk_read import BulkQuery, read_batches
from convergence.warehouse.names import TableName


class ReadableExport(Protocol):
    """An export whose rows can be read."""

    @property
    def table(self) -> ExportTable:
        """The export's table."""

    @property
    def name(self) -> str:
        """The full name of the table."""

    def read_rows(self, reading: BulkQuery) -> Iterator[Any]:
        """Read the rows of a query."""


@dataclass(frozen=True, slots=True)
class DayChoices:
    """Whose rows each day and account takes; a day that is not in it takes the export's."""

    choices: Mapping[DayKey, Choice]

    def takes(self, day: DayKey, export: str, *, preferred: bool) -> bool:
        """Return whether a day takes the rows of an export."""
        choice = self.choices.get(day)
        return preferred if choice is None else choice.export == export

    def keeps(self, row: Mapping[str, Any]) -> bool:
        """Return whether a copied row stays."""
        choice = self.choices.get((row["usage_date"], row["billing_account_id"]))
        return choice is not None and row["export_time"] in choice.kept

    @property
    def kept_days(self) -> list[date]:
        """Days with copied rows that stay, oldest first."""
        return sorted({day for (day, _), choice in self.choices.items() if choice.kept})

    def is_whole(self, day: date) -> bool:
        """Return whether a day stays as it is: every account keeps its rows and takes no other."""
        of_day = [choice for (one, _), choice in self.choices.items() if one == day]
        return bool(of_day) and all(one.export is None for one in of_day)


class CopiedRows:
    """Our copy of one org's exports."""

    def __init__(self, org: OrgContext, config: BqEtlConfig, table: TableName) -> None:
        self._org = org
        self._config = config
        self._table = table

    def list_days_of(self, exports: Sequence[ReadableExport]) -> dict[str, set[date]]:
        """Return the days that our copy has rows of, by export."""
        days: dict[str, set[date]] = {}
        if exports:
            names = [export.name for export in exports]
            for row in self._read(self._config.copied_days_file, {"tables": names}):
                days.setdefault(row["source_table"], set()).add(row["usage_date"])
        return days

    def choose_rows(self, exports: Sequence[ReadableExport], days: Sequence[date]) -> DayChoices:
        """Choose whose rows days take; the preferred exports come first.

        Days that `accept_shrink` covers take what the preferred exports hold.
        """
        accepted = ShrinkAcceptance.from_param(self._org.params.get(ACCEPT_SHRINK))
        compared = [
            day for day in days if accepted is None or not accepted.covers(self._org.org_slug, day)
        ]
        if not compared:
            return DayChoices({})
        ours = group_holdings(
            self._read(self._config.copied_batches_file, {"days": sorted(compared)})
        )
        if not ours:
            return DayChoices({})
        known = sorted({day for day, _ in ours})
        theirs: list[Mapping[str, Any]] = []
        for export in exports:
            theirs.extend(self._read_batches_of(export, known))
        exported = group_holdings(theirs)
        found: dict[DayKey, Choice] = {
            key: choose_rows(copies, exported.get(key, ())) for key, copies in ours.items()
        }
        for key, offered in exported.items():
            found.setdefault(key, choose_rows((), offered))
        return DayChoices(found)

    def read_kept(self, choices: DayChoices, days: Sequence[date]) -> Iterator[dict[str, Any]]:
        """Yield the copied rows of days that stay, as the copy holds them."""
        kept = [day for day in choices.kept_days if day in set(days)]
        if not kept:
            return
        for row in self._read(self._config.copied_rows_file, {"days": kept}):
            if choices.keeps(row):
                extra = row["extra"]
                yield {**row, "extra": json.loads(extra) if isinstance(extra, str) else extra}

    def _read_batches_of(
        self, export: ReadableExport, days: Sequence[date]
    ) -> Iterator[dict[str, Any]]:
        reading = BulkQuery(
            self._org.settings.configs_dir / self._config.exported_batches_file,
            export.table.identifiers,
            {
                "first": _midnight(days[0]),
                "after": _midnight(days[-1] + timedelta(days=1)),
                "days": list(days),
                "partitions_from": export.table.partitions_from(days[0], exported=False),
            },
        )
        for batch in export.read_rows(reading):
            for row in batch.to_pylist():
                yield {
                    **row,
                    "source_table": export.name,
                    "source_created_at": export.table.created_at,
                }

    def _read(self, file: str, params: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        reading = BulkQuery(
            self._org.settings.configs_dir / file,
            {"dataset": self._table.dataset, "raw_table": self._table.table},
            params,
        )
        for batch in read_batches(self._org.warehouse, reading):
            yield from batch.to_pylist()


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time.min, UTC)
