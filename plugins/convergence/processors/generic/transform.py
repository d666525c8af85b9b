"""A table filled by SQL: each day when what it follows from has changed, or the whole at once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from datetime import date, datetime
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from convergence.errors import ConfigurationError, RetryableError
from convergence.processors.context import OrgContext, StepResult
from convergence.processors.generic.cost_face import show_in_cost_daily
from convergence.processors.generic.slices import (
    Publish,
    done_before,
    ledger_rows,
    publish_days,
)
from convergence.processors.generic.transform_config import TransformConfig, params_of
from convergence.runs.ledger import LedgerRow
from convergence.runs.publisher import Attempt, PricedDay
from convergence.warehouse.evolve import ensure_table
from convergence.warehouse.fill import query_table, table_writes
from convergence.warehouse.names import TableName, job_base
from convergence.warehouse.params import Param
from convergence.warehouse.reading import Reading, estimate
from convergence.warehouse.schemas import TableSchema

Digests = Mapping[str, str]


def transform(org: OrgContext, config: TransformConfig) -> StepResult:
    """Fill the table.

    Raises:
        ConfigurationError: a query would read more than it may.
        RetryableError: a day of a table that this pipeline publishes is not in the ledger.
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
        before = done_before(self._org, table=name)
        todo = sorted(set(self._org.days) - before, reverse=True)
        published = publish_days(self._org, todo, table=name, make=self.make)
        facts = {
            **published.facts(),
            "days_done_before": len(before),
            "bytes_estimated": self._estimated,
        }
        return StepResult(
            rows_processed=published.row_count, destination_table=str(self.table), facts=facts
        )

    def make(self, attempts: Mapping[date, Attempt], round_: int) -> Iterator[tuple[date, Publish]]:
        """The days whose attempts are given, newest first, each with what publishes it."""
        del round_  # nothing is kept between rounds: the inputs are looked at again
        if not attempts:
            return
        now = self._org.now()
        followed = self._followed(sorted(attempts))
        for day in sorted(attempts, reverse=True):
            query = self._query(day, followed[day], now=now)
            yield day, partial(self._publish, attempts[day], query, now)

    def whole(self) -> StepResult:
        """Replace the table."""
        org, config = self._org, self._config
        params = self._params(day=None, now=org.now())
        self._hold_to_cap(params)
        digest = self._digest(self._states, day=None)
        outcome = query_table(
            org.warehouse,
            self.table,
            self._path,
            schema=self.schema,
            identifiers=self._identifiers,
            params=params,
            job_base=job_base(
                "transform", org.org_slug, self.table.table, org.run_id, digest, str(self.table)
            ),
            job_labels={
                "org": org.org_slug,
                "pipeline": org.pipeline.pipeline_id,
                "table": self.table.table,
                "run": org.run_id,
            },
            max_bytes=config.max_bytes_billed,
        )
        return StepResult(
            rows_processed=outcome.rows,
            destination_table=str(self.table),
            facts={"bytes_estimated": self._estimated},
        )

    @property
    def _identifiers(self) -> dict[str, str]:
        own = {"dataset": self._org.dataset, "destination": self._config.destination.table}
        return {**own, **self._config.reads}

    @cached_property
    def _states(self) -> Digests:
        """When each table that is read last changed."""
        others = set(self._config.reads.values()) - self._sliced
        found = table_writes(self._org.warehouse, self._org.dataset, others)
        return {
            name: found[name].modified_at.isoformat() if name in found else "empty"
            for name in sorted(others)
        }

    @property
    def _sliced(self) -> frozenset[str]:
        """Tables whose days this pipeline's ledger tells of."""
        return frozenset(self._config.reads.values()) & frozenset(self._org.pipeline.tables)

    def _followed(self, days: list[date]) -> dict[date, dict[str, str]]:
        """What each day's rows follow from: its slices' hashes, and other tables' changes."""
        followed = {day: dict(self._states) for day in days}
        for table in sorted(self._sliced):
            rows = {row.key.day: row for row in ledger_rows(self._org, days, table=table)}
            if missing := [day.isoformat() for day in days if day not in rows]:
                raise RetryableError("Some days are not in the ledger", table=table, days=missing)
            for day, row in rows.items():
                followed[day][table] = row.content_hash
        return followed

    def _query(self, day: date, followed: Digests, *, now: datetime) -> PricedDay:
        return PricedDay(
            sql_path=self._path,
            identifiers=self._identifiers,
            params=self._params(day=day, now=now),
            content_hash=self._digest(followed, day=day),
            totals_path=self._totals,
            max_bytes=self._config.max_bytes_billed,
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
        found = estimate(self._org.warehouse, Reading(self._path, self._identifiers, dict(params)))
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
        return {name for path in paths for name in params_of(path)}

    @property
    def _totals(self) -> Path | None:
        name = self._config.totals_file
        return self._org.settings.configs_dir / name if name else None

    def _digest(self, followed: Digests, *, day: date | None) -> str:
        parts: dict[str, Any] = {
            "followed": dict(followed),
            "sql": self._path.read_text(encoding="utf-8"),
            "identifiers": self._identifiers,
            "params": self._config.model_dump(mode="json")["params"],
            "day": day.isoformat() if day else None,
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
