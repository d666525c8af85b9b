"""A table filled by SQL: each day when what it follows from has changed, or the whole at once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from datetime import date, datetime
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from convergence.errors import ConfigurationError
from convergence.processors.context import OrgContext, StepResult
from convergence.processors.lib.daily.cost_view import show_in_cost_daily
from convergence.processors.lib.daily.inputs import DayInputs, Inputs
from convergence.processors.lib.daily.slices import Publish, done_before, publish_days
from convergence.processors.lib.transform.transform_config import TransformConfig, named_params
from convergence.processors.lib.transform.whole_table import WholeTable
from convergence.runs.ledger import LedgerRow
from convergence.runs.publisher import Attempt, PricedDay
from convergence.runs.slices import SliceInput
from convergence.warehouse.bulk_read import BulkQuery, estimate_bytes
from convergence.warehouse.evolve import ensure_table
from convergence.warehouse.names import TableName
from convergence.warehouse.params import Param
from convergence.warehouse.query import statement_source
from convergence.warehouse.schemas import TableSchema
from convergence.warehouse.writers import InputWrites

Digests = Mapping[str, str]


def transform(org: OrgContext, config: TransformConfig) -> StepResult:
    """Fill the table.

    Raises:
        ConfigurationError: a query would read more than it may.
        InputNotAsRecordedError: a day of a table that this pipeline publishes is not in the
            ledger, or not as the ledger says.
        InputChangedError: a table keeps changing while the query reads it.
    """
    work = Transform(org, config)
    if config.partition == "day" and not org.days:
        return StepResult(status="SKIPPED", destination_table=str(work.table))
    ensure_table(org.warehouse, work.table, work.schema)
    show_in_cost_daily(org, config.source_view)
    return work.whole() if config.partition == "none" else work.by_day()


class Transform:
    """One org's table in one run."""

    def __init__(self, org: OrgContext, config: TransformConfig) -> None:
        self._org = org
        self._config = config
        self._path = org.settings.configs_dir / config.sql_file
        self._estimated = 0
        self.table = TableName(org.dataset, config.destination.table)
        self.schema = TableSchema.load(org.settings.configs_dir / config.destination.schema_file)

    def by_day(self) -> StepResult:
        """Publish each day as one partition."""
        name = self._config.destination.table
        # An earlier try may have read other inputs: only equal inputs make a day done.
        before = done_before(self._org, table=name)
        todo = sorted(self._org.days, reverse=True)
        published = publish_days(self._org, todo, table=name, make=self.make)
        facts = {
            **published.facts(),
            "days_done_before": len(before),
            "bytes_estimated": self._estimated,
        }
        return StepResult(
            rows_processed=published.row_count, destination_table=str(self.table), details=facts
        )

    def make(
        self, attempts: Mapping[date, Attempt], round_: int
    ) -> Iterator[tuple[date, Publish | None]]:
        """The days whose attempts are given, newest first, each with what publishes it."""
        del round_  # nothing is kept between rounds: the inputs are looked at again
        if not attempts:
            return
        now = self._org.now()
        inputs = self._inputs.read(sorted(attempts))
        for day in sorted(inputs.days, reverse=True):
            query = self._query(inputs.days[day], now=now)
            yield day, partial(self._publish, attempts[day], query, now)
        self._inputs.end_not_observable(inputs.not_observable, attempts)
        yield from ((day, None) for day in inputs.not_observable)
        if inputs.error is not None:
            raise inputs.error

    def whole(self) -> StepResult:
        """Replace the table, unless it is what its inputs come to already."""
        row = WholeTable(self._org, self.table, self.schema).fill(self._whole_query)
        return StepResult(
            rows_processed=row.row_count,
            destination_table=str(self.table),
            details={"bytes_estimated": self._estimated},
        )

    def _whole_query(self) -> PricedDay:
        """The query of the whole table, with the inputs as they are now."""
        params = self._params(day=None, now=self._org.now())
        self._hold_to_cap(params)
        reads = set(self._config.reads.values())
        inputs = Inputs(self._org, daily=(), whole=reads).read_whole()
        followed = _changed_at(inputs.writes, reads)
        # What depends on the present is made again by every run.
        run = {"run_id": self._org.run_id} if "now" in self._named else {}
        return PricedDay(
            sql_path=self._path,
            identifiers=self._identifiers,
            params=params,
            content_hash=self._digest(followed | run, day=None),
            max_bytes=self._config.max_bytes_billed,
            inputs=_slice_inputs(followed),
            inputs_stand=inputs.stand,
        )

    @property
    def _identifiers(self) -> dict[str, str]:
        own = {"dataset": self._org.dataset, "destination": self._config.destination.table}
        return {**own, **self._config.reads}

    @property
    def _inputs(self) -> Inputs:
        """Tables whose days this pipeline's ledger describes, and the others."""
        reads = frozenset(self._config.reads.values())
        daily = reads & frozenset(self._org.pipeline.tables)
        return Inputs(self._org, daily=daily, whole=reads - daily)

    def _query(self, inputs: DayInputs, *, now: datetime) -> PricedDay:
        followed = {
            **_changed_at(inputs.writes, inputs.whole),
            **{table: row.content_hash for table, row in inputs.rows.items()},
        }
        return PricedDay(
            sql_path=self._path,
            identifiers=self._identifiers,
            params=self._params(day=inputs.day, now=now),
            content_hash=self._digest(followed, day=inputs.day),
            totals_path=self._totals,
            max_bytes=self._config.max_bytes_billed,
            inputs=_slice_inputs(followed),
            inputs_stand=inputs.stand,
        )

    def _publish(self, attempt: Attempt, query: PricedDay, now: datetime) -> LedgerRow:
        self._hold_to_cap(query.params)
        return self._org.publisher.publish_query(
            attempt,
            query,
            table=self.table,
            schema=self.schema,
            run_id=self._org.run_id,
            now=now,
            settle_days=self._org.pipeline.settle_days,
        )

    def _hold_to_cap(self, params: Mapping[str, Param]) -> None:
        """Ask what the query would read, and go no further where that is too much."""
        found = estimate_bytes(
            self._org.warehouse, BulkQuery(self._path, self._identifiers, dict(params))
        )
        if found > self._config.max_bytes_billed:
            raise ConfigurationError(
                "The query would read more than it may",
                sql=self._config.sql_file,
                bytes=found,
                max_bytes_billed=self._config.max_bytes_billed,
            )
        self._estimated += found

    def _params(self, *, day: date | None, now: datetime) -> dict[str, Param]:
        """The values that the SQL names; BigQuery is told no others."""
        own: dict[str, Param] = {"org_slug": self._org.org_slug, "now": now}
        if day is not None:
            own["day"] = day
        values = {**own, **self._config.values()}
        return {name: values[name] for name in sorted(self._named & set(values))}

    @cached_property
    def _named(self) -> set[str]:
        """What the SQL and that of the totals name after an @."""
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
    """When each table was last written: what its content is known by, without days."""
    return {
        name: writes.whole[name].modified_at.isoformat() if name in writes.whole else "empty"
        for name in sorted(tables)
    }


def _slice_inputs(followed: Digests) -> tuple[SliceInput, ...]:
    return tuple(SliceInput(table, content) for table, content in sorted(followed.items()))
