"""Sum the net cost of each day whose copied rows changed since its cost was summed."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from convergence.errors import RetryableError
from convergence.processors.context import OrgContext, StepResult
from convergence.processors.gcp.billing_export import DAY_PARAMS
from convergence.processors.gcp.config import BillingCostConfig
from convergence.processors.lib.daily.cost_view import show_in_cost_daily
from convergence.processors.lib.daily.derived import DerivedDays
from convergence.processors.lib.daily.inputs import DayInputs, Inputs
from convergence.processors.lib.daily.slices import find_days_done_before, publish_days
from convergence.processors.lib.schema_templates import load_template
from convergence.runs.ledger import LedgerRow
from convergence.runs.publisher import PricedDay
from convergence.runs.slices import SliceInput
from convergence.warehouse.names import TableName
from convergence.warehouse.tables.evolve import ensure_table


def sum_costs(org: OrgContext, config: BillingCostConfig) -> StepResult:
    """Sum and publish the costs; errors as `BillingCost.run_step`."""
    costs = CostDays(org, config)
    table = TableName(org.dataset, config.table)
    if not org.days:
        return StepResult(status="SKIPPED", destination_table=str(table))
    ensure_table(org.warehouse, table, costs.schema)
    show_in_cost_daily(org, config.source_view)
    # Days of an earlier try are not skipped: the try may have summed other rows.
    before = find_days_done_before(org, table=config.table)
    published = publish_days(org, costs, sorted(costs.select_days(), reverse=True))
    return StepResult(
        rows_processed=published.row_count,
        destination_table=str(table),
        details={
            **published.build_details(),
            "days_done_before": len(before),
            "net_cost": sum_totals(published.rows.values()),
            "basis": "billed",
        },
    )


class CostDays(DerivedDays):
    """Days of one org's net costs in one run."""

    def __init__(self, org: OrgContext, config: BillingCostConfig) -> None:
        super().__init__(org)
        self._config = config
        self._folder = org.settings.configs_dir
        self._sql = self._folder / config.sql_file
        self._sql_text = self._sql.read_text(encoding="utf-8")
        self.table = config.table
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

    def select_days(self) -> set[date]:
        """Return the requested or due days, and other days whose rows have changed.

        Rows that were found wrong wait until they are copied again.
        """
        ledger = self._read_ledger()
        raw, cost = ledger[self._config.raw_table], ledger[self._config.table]
        requested = set(self._org.days)
        if missing := sorted(requested - raw.keys()):
            raise RetryableError(
                "The rows of some days are not in the ledger", days=[str(day) for day in missing]
            )
        if any(self._org.params.get(name) for name in DAY_PARAMS):
            return requested
        return requested | {
            day
            for day, row in raw.items()
            if row.is_valid
            and (
                day not in cost
                or not cost[day].is_valid
                or cost[day].content_hash != self._hash_content(row)
            )
        }

    @property
    def inputs(self) -> Inputs:
        """The copied rows of the export."""
        return Inputs(self._org, daily={self._config.raw_table})

    def build_query(self, inputs: DayInputs, *, now: datetime) -> PricedDay:
        """Build the query that sums one day."""
        del now
        raw = inputs.rows[self._config.raw_table]
        return PricedDay(
            sql_path=self._sql,
            identifiers=self._identifiers,
            params={"day": raw.key.day},
            content_hash=self._hash_content(raw),
            totals_path=self._folder / self._config.totals_file,
            source_pages=raw.source_pages,
            inputs=(SliceInput(self._config.raw_table, raw.content_hash),),
            inputs_stand=inputs.are_unchanged,
        )

    def _hash_content(self, raw: LedgerRow) -> str:
        parts = {
            "rows": raw.content_hash,
            "sql": self._sql_text,
            "identifiers": self._identifiers,
            "day": raw.key.day.isoformat(),
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def _read_ledger(self) -> dict[str, dict[date, LedgerRow]]:
        """Read the newest row of each table and day of the whole history."""
        latest = self._org.ledger.read_latest(
            orgs=[self._org.org_slug], pipeline_id=self._org.pipeline.pipeline_id
        )
        found: dict[str, dict[date, LedgerRow]] = defaultdict(dict)
        for key, row in latest.items():
            found[key.table][key.day] = row
        return found


def sum_totals(rows: Iterable[LedgerRow]) -> dict[str, str]:
    """Return the totals of the days, by currency."""
    found: dict[str, Any] = defaultdict(Decimal)
    for row in rows:
        for money in row.totals:
            found[money.currency] += money.amount
    return {name: format(total, "f") for name, total in sorted(found.items())}
