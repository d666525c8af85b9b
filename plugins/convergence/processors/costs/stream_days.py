"""Source of the days of a cost stream: a query over the views of its bases."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import date, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from convergence.errors import InputNotAsRecordedError
from convergence.processors.context import OrgContext
from convergence.processors.costs.config import AuthoritativeConfig
from convergence.processors.costs.stream_inputs import DaySlices, find_states, list_tables
from convergence.processors.lib.daily.cost_view import ensure_basis, list_source_columns
from convergence.processors.lib.daily.day_source import DayContent, DaySource
from convergence.processors.lib.daily.inputs import DayInputs
from convergence.providers.cost_streams import Basis, Stream
from convergence.runs.ledger import LedgerRow
from convergence.runs.publisher import Attempt, PricedDay
from convergence.runs.slices import Finality
from convergence.warehouse.params import Param, typed
from convergence.warehouse.partitions.publish import is_intact
from convergence.warehouse.partitions.writers import InputWrites, input_writes
from convergence.warehouse.query import statement_source
from convergence.warehouse.schemas import TableSchema

_KEY_COLUMNS = (
    *("SkuId", "SkuMeter", "SubAccountId", "x_ApiKeyId", "x_UserId", "x_ServiceTier"),
    *("x_ContextWindow", "x_Model", "ConsumedUnit", "PricingUnit", "SkuPriceId", "ResourceId"),
    *("RegionId", "Tags", "x_PriceCaveat", "x_UnpricedReason", "x_PriceVersion", "x_SourceTable"),
    "ChargeDescription",
)
"""Columns that distinguish two rows of one side; their text orders equal remainders."""


class StreamDays(DaySource):
    """The days of one stream of one org in one run."""

    def __init__(
        self,
        org: OrgContext,
        stream: Stream,
        config: AuthoritativeConfig,
        *,
        schema: TableSchema,
        slices: Mapping[date, DaySlices],
        published: Mapping[date, LedgerRow],
    ) -> None:
        self._org = org
        self._stream = stream
        self._config = config
        self._slices = slices
        self._published = published
        self._writes = InputWrites({}, {})
        self._read_at: datetime = org.now()
        self.table = stream.table
        self.schema = schema

    def list_changed_days(self) -> list[date]:
        """Return the days whose content follows from something else than what is published."""
        return [
            day for day, slices in self._slices.items() if slices.is_valid and self._is_changed(day)
        ]

    def _is_changed(self, day: date) -> bool:
        row = self._published.get(day)
        return row is None or not row.is_valid or row.content_hash != self._digest(day)

    def prepare(self, attempts: Mapping[date, Attempt], *, round_number: int) -> None:
        """Bring the views up to date and read the last writes of the tables below them."""
        if round_number == 0:
            for basis in self._stream.declared.bases.values():
                ensure_basis(self._org.warehouse, self._folder, self._org.dataset, basis)
        self._read_at = self._org.now()
        slices = [self._slices[day] for day in attempts]
        days = sorted({row.key.day for one in slices for row in one.rows.values()})
        self._writes = input_writes(
            self._org.warehouse, self._org.dataset, daily=list_tables(slices), days=days
        )

    def content(self, day: date) -> DayContent:
        """Return the query of the day.

        Raises:
            InputNotAsRecordedError: the partition of a basis is not as the ledger records it.
        """
        slices = self._slices[day]
        for row in slices.rows.values():
            write = self._writes.daily.get((row.key.table, row.key.day))
            if not is_intact(write, rows=row.row_count, written_by=row.job_ended_at):
                raise InputNotAsRecordedError(
                    "A day of a cost stream's table differs from the ledger",
                    tables=[row.key.table],
                    days=[row.key.day.isoformat()],
                )
        return DayContent(self._build_query(slices), self._read_at)

    def _build_query(self, slices: DaySlices) -> PricedDay:
        slice_day = next(iter(slices.rows.values())).key.day
        tables = {row.key.table: row for row in slices.rows.values()}
        read = DayInputs(self._org, slice_day, tables, self._writes.for_day(slice_day), ())
        return PricedDay(
            sql_path=self._sql_path,
            identifiers=self._identifiers,
            params=self._build_params(slices),
            content_hash=self._digest(slices.day),
            totals_path=self._folder / self._config.totals_file,
            inputs=slices.inputs,
            inputs_stand=read.are_unchanged,
            shown_finality=find_states(self._stream, slices, now=self._read_at).finality,
        )

    def _build_params(self, slices: DaySlices) -> dict[str, Param]:
        """Return the parameters that the statement names."""
        states = find_states(self._stream, slices, now=self._read_at)
        basis: Basis = "billed" if "billed" in slices.rows else "computed"
        params: dict[str, Param] = {
            "day": slices.day,
            "org_slug": self._org.org_slug,
            "provider": self._stream.provider,
            "stream": self._stream.id,
            "money": self._stream.declared.money,
            "only_basis": basis,
            "bill_state": states.bill if self._is_matched or basis == "computed" else "covers",
            "usage_state": states.usage,
        }
        for name in ("computed", "billed"):
            row = slices.rows.get(name)
            finality = states.finality.get(name, Finality.SETTLING)
            params[f"{name}_finality"] = finality.value
            params[f"{name}_run_id"] = row.run_id if row else ""
        if self._is_matched:
            params |= {
                "has_bill": "billed" in slices.rows,
                "has_usage": "computed" in slices.rows,
                "bill_is_final": states.bill_is_final,
                "bill_is_steady": states.bill_is_steady,
                "was_covered": self._was_covered(slices),
                "coverage_threshold": self._config.coverage_threshold,
            }
            if self._stream.declared.never_billed:
                values = {
                    value for one in self._stream.declared.never_billed for value in one.values
                }
                params["never_billed"] = typed(sorted(values), "STRING")
        return params

    def _was_covered(self, slices: DaySlices) -> bool:
        """Return whether the day shows its bill already: it never goes back by itself."""
        row = self._published.get(slices.day)
        return (
            row is not None
            and "billed" in slices.rows
            and {money.basis for money in row.totals} == {"billed"}
        )

    @property
    def _is_matched(self) -> bool:
        """Return whether bill and usage are matched: the stream has both."""
        return len(self._stream.declared.bases) > 1

    @property
    def _folder(self) -> Path:
        return self._org.settings.configs_dir

    @property
    def _sql_path(self) -> Path:
        config = self._config
        return self._folder / (config.two_bases_file if self._is_matched else config.one_basis_file)

    @cached_property
    def _identifiers(self) -> dict[str, Any]:
        declared = self._stream.declared
        return {
            "dataset": self._org.dataset,
            "stream_table": self._stream.table,
            "columns": list_source_columns(self._folder),
            "sides": [{"view": basis.view_name} for basis in declared.bases.values()],
            "dimensions": list(declared.dimensions),
            "key_columns": list(_KEY_COLUMNS),
            "never_billed": [{"column": one.column} for one in declared.never_billed],
        }

    def _digest(self, day: date) -> str:
        """Return the hash of all that the day's rows follow from, without the ids of runs."""
        slices = self._slices[day]
        params = self._build_params(slices)
        parts: dict[str, Any] = {
            "inputs": [[one.table, one.content_hash] for one in slices.inputs],
            "params": {
                name: str(value)
                for name, value in params.items()
                # A day that was covered stays so with the same slices: it changes nothing here.
                if name != "was_covered" and not name.endswith("_run_id")
            },
            "statement": self._statement_text,
            "declared": self._stream.declared.model_dump(mode="json"),
            "columns": [field.name for field in self.schema.fields],
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    @cached_property
    def _statement_text(self) -> list[str]:
        paths = [self._sql_path]
        paths += [self._folder / basis.view for basis in self._stream.declared.bases.values()]
        return [statement_source(self._org.warehouse, path).text for path in paths]
