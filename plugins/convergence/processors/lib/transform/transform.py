"""Fill a table by SQL: each day whose inputs have changed, or the whole table at once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from datetime import date, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from convergence.errors import ConfigurationError
from convergence.processors.context import OrgContext, StepResult
from convergence.processors.lib.daily.cost_view import show_in_cost_daily
from convergence.processors.lib.daily.derived import DerivedDays
from convergence.processors.lib.daily.inputs import DayInputs, Inputs
from convergence.processors.lib.daily.slices import find_days_done_before, publish_days
from convergence.processors.lib.transform.transform_config import TransformConfig, named_params
from convergence.processors.lib.transform.whole_table import WholeTable
from convergence.runs.publisher import PricedDay
from convergence.runs.slices import SliceInput
from convergence.warehouse.bulk_read import BulkQuery, estimate_bytes
from convergence.warehouse.names import TableName
from convergence.warehouse.params import Param
from convergence.warehouse.partitions.writers import InputWrites
from convergence.warehouse.query import statement_source
from convergence.warehouse.schemas import TableSchema
from convergence.warehouse.tables.evolve import ensure_table

Digests = Mapping[str, str]


def transform(org: OrgContext, config: TransformConfig) -> StepResult:
    """Fill the table.

    Raises:
        ConfigurationError: a query would read more than it may.
        InputNotAsRecordedError: a day of a table that this pipeline publishes is not in the
            ledger, or not as the ledger says.
        InputChangedError: a table keeps changing while the query reads it.
    """
    transformed = TransformedDays(org, config)
    table = TableName(org.dataset, config.destination.table)
    if config.partition == "day" and not org.days:
        return StepResult(status="SKIPPED", destination_table=str(table))
    ensure_table(org.warehouse, table, transformed.schema)
    show_in_cost_daily(org, config.source_view)
    if config.partition == "none":
        return transformed.replace_whole()
    return transformed.publish_by_day()


class TransformedDays(DerivedDays):
    """Days of one org's table in one run, or the whole table."""

    def __init__(self, org: OrgContext, config: TransformConfig) -> None:
        super().__init__(org)
        self._config = config
        self._path = org.settings.configs_dir / config.sql_file
        self._estimated = 0
        self.table = config.destination.table
        self._table_name = TableName(org.dataset, self.table)
        self.schema = TableSchema.load(org.settings.configs_dir / config.destination.schema_file)

    def publish_by_day(self) -> StepResult:
        """Publish each day as one partition."""
        # Days of an earlier try are not skipped: the try may have read other inputs.
        before = find_days_done_before(self._org, table=self.table)
        published = publish_days(self._org, self, sorted(self._org.days, reverse=True))
        details = {
            **published.build_details(),
            "days_done_before": len(before),
            "bytes_estimated": self._estimated,
        }
        return StepResult(
            rows_processed=published.row_count,
            destination_table=str(self._table_name),
            details=details,
        )

    def replace_whole(self) -> StepResult:
        """Replace the table, unless it has the content of its inputs already."""
        table = WholeTable(self._org, self._table_name, self.schema)
        row = table.fill(self._build_whole_query)
        return StepResult(
            rows_processed=row.row_count,
            destination_table=str(self._table_name),
            details={"bytes_estimated": self._estimated},
        )

    def _build_whole_query(self) -> PricedDay:
        """Build the query of the whole table, with the current inputs."""
        params = self._build_params(day=None, now=self._org.now())
        self._check_byte_limit(params)
        reads = set(self._config.reads.values())
        inputs = Inputs(self._org, daily=(), whole=reads).read_whole()
        followed = _changed_at(inputs.writes, reads)
        # A query that uses @now is run again by each run.
        run = {"run_id": self._org.run_id} if "now" in self._named else {}
        return PricedDay(
            sql_path=self._path,
            identifiers=self._identifiers,
            params=params,
            content_hash=self._digest(followed | run, day=None),
            max_bytes=self._config.max_bytes_billed,
            inputs=_slice_inputs(followed),
            inputs_stand=inputs.are_unchanged,
        )

    @property
    def _identifiers(self) -> dict[str, str]:
        standard = {"dataset": self._org.dataset, "destination": self._config.destination.table}
        return {**standard, **self._config.reads}

    @property
    def inputs(self) -> Inputs:
        """The input tables: those with days in this pipeline's ledger, and the others."""
        reads = frozenset(self._config.reads.values())
        daily = reads & frozenset(self._org.pipeline.tables)
        return Inputs(self._org, daily=daily, whole=reads - daily)

    def build_query(self, inputs: DayInputs, *, now: datetime) -> PricedDay:
        """Build the query of one day, after a check of the bytes that it would read."""
        params = self._build_params(day=inputs.day, now=now)
        self._check_byte_limit(params)
        followed = {
            **_changed_at(inputs.writes, inputs.whole),
            **{table: row.content_hash for table, row in inputs.rows.items()},
        }
        return PricedDay(
            sql_path=self._path,
            identifiers=self._identifiers,
            params=params,
            content_hash=self._digest(followed, day=inputs.day),
            totals_path=self._totals,
            max_bytes=self._config.max_bytes_billed,
            inputs=_slice_inputs(followed),
            inputs_stand=inputs.are_unchanged,
        )

    def _check_byte_limit(self, params: Mapping[str, Param]) -> None:
        """Estimate the bytes that the query would read; raise if they exceed the limit."""
        found = estimate_bytes(
            self._org.warehouse, BulkQuery(self._path, self._identifiers, dict(params))
        )
        if found > self._config.max_bytes_billed:
            raise ConfigurationError(
                "The query would read more bytes than max_bytes_billed allows",
                sql=self._config.sql_file,
                bytes=found,
                max_bytes_billed=self._config.max_bytes_billed,
            )
        self._estimated += found

    def _build_params(self, *, day: date | None, now: datetime) -> dict[str, Param]:
        """Build the parameters that the SQL names; no others are sent to BigQuery."""
        standard: dict[str, Param] = {"org_slug": self._org.org_slug, "now": now}
        if day is not None:
            standard["day"] = day
        values = {**standard, **self._config.build_params()}
        return {name: values[name] for name in sorted(self._named & set(values))}

    @cached_property
    def _named(self) -> set[str]:
        """The names after an @ in the SQL and in the SQL of the totals."""
        paths = [self._path] if self._totals is None else [self._path, self._totals]
        sources = [statement_source(self._org.warehouse, path) for path in paths]
        return {name for source in sources for name in named_params(source.text)}

    @property
    def _totals(self) -> Path | None:
        name = self._config.totals_file
        return self._org.settings.configs_dir / name if name else None

    def _digest(self, followed: Digests, *, day: date | None) -> str:
        parts: dict[str, Any] = {
            "followed": dict(followed),
            "sql": statement_source(self._org.warehouse, self._path).text,
            "identifiers": self._identifiers,
            "params": self._config.model_dump(mode="json")["params"],
            "day": day.isoformat() if day else None,
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _changed_at(writes: InputWrites, tables: Collection[str]) -> dict[str, str]:
    """Return when each table was last written, which identifies its content."""
    return {
        name: writes.whole[name].modified_at.isoformat() if name in writes.whole else "empty"
        for name in sorted(tables)
    }


def _slice_inputs(followed: Digests) -> tuple[SliceInput, ...]:
    return tuple(SliceInput(table, content) for table, content in sorted(followed.items()))
