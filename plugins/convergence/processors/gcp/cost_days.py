"""Net cost of every day whose copied rows are others than those its cost was summed from."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime
from decimal import Decimal
from functools import partial
from typing import Any

from convergence.errors import RetryableError
from convergence.processors.context import OrgContext, StepResult
from convergence.processors.gcp.billing_export import ASKED
from convergence.processors.gcp.config import BillingCostConfig
from convergence.processors.lib.daily.cost_view import show_in_cost_daily
from convergence.processors.lib.daily.inputs import DayInputs, Inputs
from convergence.processors.lib.daily.slices import Publish, done_before, publish_days
from convergence.processors.lib.schema_templates import load_template
from convergence.runs.ledger import LedgerRow
from convergence.runs.publisher import Attempt, PricedDay
from convergence.runs.slices import SliceInput
from convergence.warehouse.evolve import ensure_table
from convergence.warehouse.names import TableName


def sum_costs(org: OrgContext, config: BillingCostConfig) -> StepResult:
    """Sum and publish; errors as `BillingCost.run`."""
    costs = CostDays(org, config)
    if not org.days:
        return StepResult(status="SKIPPED", destination_table=str(costs.table))
    ensure_table(org.warehouse, costs.table, costs.schema)
    show_in_cost_daily(org, config.source_view)
    # An earlier try may have summed other rows: only equal inputs make a day done.
    before = done_before(org, table=config.table)
    todo = sorted(costs.days(), reverse=True)
    published = publish_days(org, todo, table=config.table, make=costs.make)
    return StepResult(
        rows_processed=published.row_count,
        destination_table=str(costs.table),
        details={
            **published.facts(),
            "days_done_before": len(before),
            "net_cost": totals(published.rows.values()),
            "basis": "billed",
        },
    )


class CostDays:
    """One org's costs in one run."""

    def __init__(self, org: OrgContext, config: BillingCostConfig) -> None:
        self._org = org
        self._config = config
        self._folder = org.settings.configs_dir
        self._sql = self._folder / config.sql_file
        self._sql_text = self._sql.read_text(encoding="utf-8")
        self.table = TableName(org.dataset, config.table)
        self.schema = load_template(
            self._folder / config.schema_file, config.schema_template, table=config.table
        )

    @property
    def _identifiers(self) -> dict[str, str]:
        return {
            "dataset": self._org.dataset,
            "raw_table": self._config.raw_table,
            "cost_table": self._config.table,
        }

    def days(self) -> set[date]:
        """Days that were asked for or are due, and any other whose rows have changed since.

        Rows that were found wrong wait until they are copied again.
        """
        ledger = self._ledger()
        raw, cost = ledger[self._config.raw_table], ledger[self._config.table]
        wanted = set(self._org.days)
        if missing := sorted(wanted - raw.keys()):
            raise RetryableError(
                "The rows of some days are not in the ledger", days=[str(day) for day in missing]
            )
        if any(self._org.params.get(name) for name in ASKED):
            return wanted
        return wanted | {
            day
            for day, row in raw.items()
            if row.is_valid
            and (
                day not in cost
                or not cost[day].is_valid
                or cost[day].content_hash != self._content_hash(row)
            )
        }

    def make(
        self, attempts: Mapping[date, Attempt], round_: int
    ) -> Iterator[tuple[date, Publish | None]]:
        """The cost of the days whose attempts are given, newest first."""
        del round_  # nothing is kept between rounds: the ledger is read again
        if not attempts:
            return
        now = self._org.now()
        raw = self._inputs.read(sorted(attempts))
        for day in sorted(raw.days, reverse=True):
            yield day, partial(self._publish, attempts[day], self._summed(raw.days[day]), now)
        self._inputs.end_not_observable(raw.not_observable, attempts)
        yield from ((day, None) for day in raw.not_observable)
        if raw.error is not None:
            raise raw.error

    @property
    def _inputs(self) -> Inputs:
        return Inputs(self._org, daily={self._config.raw_table})

    def _publish(self, attempt: Attempt, query: PricedDay, now: datetime) -> LedgerRow:
        return self._org.publisher.publish_query(
            attempt,
            query,
            table=self.table,
            schema=self.schema,
            run_id=self._org.run_id,
            now=now,
            settle_days=self._org.pipeline.settle_days,
        )

    def _content_hash(self, raw: LedgerRow) -> str:
        parts = {
            "rows": raw.content_hash,
            "sql": self._sql_text,
            "identifiers": self._identifiers,
            "day": raw.key.day.isoformat(),
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def _summed(self, inputs: DayInputs) -> PricedDay:
        raw = inputs.rows[self._config.raw_table]
        return PricedDay(
            sql_path=self._sql,
            identifiers=self._identifiers,
            params={"day": raw.key.day},
            content_hash=self._content_hash(raw),
            totals_path=self._folder / self._config.totals_file,
            source_pages=raw.source_pages,
            inputs=(SliceInput(self._config.raw_table, raw.content_hash),),
            inputs_stand=inputs.stand,
        )

    def _ledger(self) -> dict[str, dict[date, LedgerRow]]:
        """Table → day → newest row, over the org's whole history: any day may have changed."""
        latest = self._org.ledger.read_latest(
            orgs=[self._org.org_slug], pipeline_id=self._org.pipeline.pipeline_id
        )
        found: dict[str, dict[date, LedgerRow]] = defaultdict(dict)
        for key, row in latest.items():
            found[key.table][key.day] = row
        return found


def totals(rows: Iterable[LedgerRow]) -> dict[str, str]:
    """What days come to, by currency."""
    found: dict[str, Any] = defaultdict(Decimal)
    for row in rows:
        for money in row.totals:
            found[money.currency] += money.amount
    return {name: format(total, "f") for name, total in sorted(found.items())}
