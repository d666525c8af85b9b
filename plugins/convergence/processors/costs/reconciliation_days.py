"""Source of the days that compare a cost stream's bill with its usage."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from functools import cached_property
from typing import Any

from convergence.errors import InputNotAsRecordedError
from convergence.processors.context import OrgContext
from convergence.processors.costs.config import ReconciliationConfig
from convergence.processors.costs.discounts import Discount
from convergence.processors.costs.org_settings import OrgSettings
from convergence.processors.costs.reconciliation_params import (
    build_declared_params,
    build_discount_params,
    build_identifiers,
    build_setting_identifiers,
    build_setting_params,
)
from convergence.processors.costs.stream_inputs import DaySlices
from convergence.processors.lib.daily.day_source import DayContent, DaySource
from convergence.processors.lib.daily.inputs import DayInputs
from convergence.providers.cost_streams import Basis, Stream
from convergence.providers.reconciliation import Reconciliation
from convergence.runs.ledger import LedgerRow
from convergence.runs.publisher import Attempt, PricedDay
from convergence.runs.slices import Finality, SliceInput
from convergence.warehouse.params import Param
from convergence.warehouse.partitions.publish import is_intact
from convergence.warehouse.partitions.writers import InputWrites, input_writes
from convergence.warehouse.query import statement_source
from convergence.warehouse.schemas import TableSchema

_CURRENCY = "USD"
"""Currency of a day without any amount."""


@dataclass(frozen=True, slots=True)
class ComparedDay:
    """What a day is compared from.

    Attributes:
        slices: the day's slices of both bases.
        authoritative: the published rows of the stream; they say whether the bill covers the day.
    """

    slices: DaySlices
    authoritative: LedgerRow

    @property
    def rows(self) -> list[LedgerRow]:
        """Return the ledger rows of all tables that the day is read from."""
        return [*self.slices.rows.values(), self.authoritative]

    @property
    def inputs(self) -> tuple[SliceInput, ...]:
        """Return the tables with the hashes of their content."""
        authoritative = SliceInput(self.authoritative.key.table, self.authoritative.content_hash)
        return (*self.slices.inputs, authoritative)

    def get_finality(self, basis: Basis) -> Finality:
        """Return the finality of one side; a side without a slice is settling."""
        row = self.slices.rows.get(basis)
        return row.finality if row else Finality.SETTLING

    @property
    def finality(self) -> Finality:
        """Return the finality of the comparison: that of the side that may still change."""
        sides = {self.get_finality("computed"), self.get_finality("billed")}
        for one in (Finality.OPEN, Finality.SETTLING, Finality.RESTATED):
            if one in sides:
                return one
        return Finality.FINAL


class ReconciliationDays(DaySource):
    """The compared days of one stream of one org in one run."""

    def __init__(
        self,
        org: OrgContext,
        stream: Stream,
        config: ReconciliationConfig,
        *,
        schema: TableSchema,
        days: Mapping[date, ComparedDay],
        published: Mapping[date, LedgerRow],
        discount: Discount | None,
        settings: OrgSettings,
    ) -> None:
        self._org = org
        self._stream = stream
        self._config = config
        self._days = days
        self._published = published
        self._discount = discount
        self._settings = settings
        self._writes = InputWrites({}, {})
        self._read_at: datetime = org.now()
        self.table = stream.reconciliation_table
        self.schema = schema

    def list_changed_days(self) -> list[date]:
        """Return the days whose content follows from something else than what is published."""
        return [
            day
            for day, one in self._days.items()
            if one.slices.is_valid and one.authoritative.is_valid and self._is_changed(day)
        ]

    def _is_changed(self, day: date) -> bool:
        row = self._published.get(day)
        return row is None or not row.is_valid or row.content_hash != self._digest(day)

    def prepare(self, attempts: Mapping[date, Attempt], *, round_number: int) -> None:
        """Read the last writes of the tables of the days."""
        del round_number
        self._read_at = self._org.now()
        rows = [row for day in attempts for row in self._days[day].rows]
        self._writes = input_writes(
            self._org.warehouse,
            self._org.dataset,
            daily={row.key.table for row in rows},
            days=sorted({row.key.day for row in rows}),
        )

    def content(self, day: date) -> DayContent:
        """Return the query of the day.

        Raises:
            InputNotAsRecordedError: a partition is not as the ledger records it.
        """
        compared = self._days[day]
        for row in compared.rows:
            write = self._writes.daily.get((row.key.table, row.key.day))
            if not is_intact(write, rows=row.row_count, written_by=row.job_ended_at):
                raise InputNotAsRecordedError(
                    "A day of a cost stream's table differs from the ledger",
                    tables=[row.key.table],
                    days=[row.key.day.isoformat()],
                )
        return DayContent(self._build_query(day, compared), self._read_at)

    def _build_query(self, day: date, compared: ComparedDay) -> PricedDay:
        rows = {row.key.table: row for row in compared.rows}
        read = DayInputs(self._org, day, rows, self._writes.for_day(day), ())
        return PricedDay(
            sql_path=self._org.settings.configs_dir / self._config.sql_file,
            identifiers=self._identifiers,
            params={
                **self._build_params(day),
                "usage_run_id": self._find_run(compared, "computed"),
                "bill_run_id": self._find_run(compared, "billed"),
            },
            content_hash=self._digest(day),
            inputs=compared.inputs,
            inputs_stand=read.are_unchanged,
        )

    @staticmethod
    def _find_run(compared: ComparedDay, basis: Basis) -> str:
        row = compared.slices.rows.get(basis)
        return row.run_id if row else ""

    def _build_params(self, day: date) -> dict[str, Param]:
        compared = self._days[day]
        usage, bill = compared.get_finality("computed"), compared.get_finality("billed")
        complete = {Finality.FINAL, Finality.RESTATED}
        return {
            "day": day,
            "org_slug": self._org.org_slug,
            "stream": self._stream.id,
            "currency": _CURRENCY,
            "has_usage": "computed" in compared.slices.rows,
            "has_bill": "billed" in compared.slices.rows,
            "usage_finality": usage.value,
            "bill_finality": bill.value,
            "usage_is_final": usage in complete,
            "bill_is_final": bill in complete,
            "finality": compared.finality.value,
            **build_declared_params(self._stream.declared, self._reconciliation),
            **build_discount_params(self._discount),
            **build_setting_params(self._settings.factors),
        }

    @property
    def _reconciliation(self) -> Reconciliation:
        found = self._stream.declared.reconciliation
        if found is None:
            raise ValueError(f"{self._stream.id} declares no reconciliation")
        return found

    @cached_property
    def _identifiers(self) -> dict[str, Any]:
        bases = self._stream.declared.bases
        return {
            "dataset": self._org.dataset,
            "usage_view": bases["computed"].view_name,
            "bill_view": bases["billed"].view_name,
            "stream_table": self._stream.table,
            "declared": build_setting_identifiers(self._settings.factors),
            **build_identifiers(self._stream.declared, self._reconciliation),
        }

    def _digest(self, day: date) -> str:
        """Return the hash of all that the day's rows follow from, without the ids of runs."""
        params = self._build_params(day)
        parts: dict[str, Any] = {
            "inputs": [[one.table, one.content_hash] for one in self._days[day].inputs],
            "params": {name: str(value) for name, value in params.items()},
            "identifiers": self._identifiers,
            "statement": self._statement_text,
            "columns": [field.name for field in self.schema.fields],
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    @cached_property
    def _statement_text(self) -> list[str]:
        folder = self._org.settings.configs_dir
        paths = [folder / self._config.sql_file]
        paths += [folder / basis.view for basis in self._stream.declared.bases.values()]
        return [statement_source(self._org.warehouse, path).text for path in paths]
