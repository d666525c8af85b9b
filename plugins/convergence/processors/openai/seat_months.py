"""An org's plans by the month: each month is one slice, computed again while it may change."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

from convergence.extract.spool import Spool, fingerprint_of
from convergence.processors.context import OrgContext, StepResult
from convergence.processors.lib.daily.cost_view import show_in_cost_daily
from convergence.processors.lib.daily.extraction import publish_sealed
from convergence.processors.lib.daily.slices import Publish, ledger_rows, publish_days
from convergence.processors.openai.config import SubscriptionsConfig
from convergence.processors.openai.proration import (
    SeatPlan,
    build_month_rows,
    next_month,
    plan_from_row,
)
from convergence.runs.publisher import Attempt
from convergence.warehouse.day_file import Money
from convergence.warehouse.evolve import ensure_table
from convergence.warehouse.names import TableName
from convergence.warehouse.query import run_file
from convergence.warehouse.schemas import TableSchema

_UNIQUE_BY = ("plan_name", "billing_period", "period_start")


def publish_months(org: OrgContext, config: SubscriptionsConfig) -> StepResult:
    """Publish the requested months, or the last ones and the present one up to yesterday.

    The result holds the sums by currency, the rows, the table and the months.
    """
    months = SeatMonths(org, config)
    table = TableName(org.dataset, config.table)
    requested = months.requested_months()
    ensure_table(org.warehouse, table, months.schema)
    show_in_cost_daily(org, config.source_view)
    todo = months.find_months_to_write(requested)
    published = publish_days(org, todo, table=config.table, make=months.make_months)
    totals: dict[str, Decimal] = {}
    for row in published.rows.values():
        for money in row.totals:
            totals[money.currency] = totals.get(money.currency, Decimal(0)) + money.amount
    return StepResult(
        rows_processed=published.row_count,
        destination_table=str(table),
        details={
            **published.facts(),
            "months": [f"{month:%Y-%m}" for month in sorted(published.rows)],
            "months_without_seats": [f"{m:%Y-%m}" for m in sorted(set(requested) - set(todo))],
            "effective_cost": {name: format(sum_, "f") for name, sum_ in sorted(totals.items())},
            "basis": "computed",
        },
    )


class SeatMonths:
    """The months of one org in one run."""

    def __init__(self, org: OrgContext, config: SubscriptionsConfig) -> None:
        self._org = org
        self._config = config
        self._today = org.now().astimezone(UTC).date()
        self.schema = TableSchema.load(org.settings.configs_dir / config.schema_file)
        self._plans = self._read_plans()

    def requested_months(self) -> list[date]:
        """Return the first days of the months to compute, newest first.

        A month that begins today has no complete day and is not among them.
        """
        if self._org.days:
            months = {day.replace(day=1) for day in self._org.days}
        else:
            months = set(_list_months(self._today, self._config.months))
        return sorted((month for month in months if month < self._today), reverse=True)

    def find_months_to_write(self, months: Sequence[date]) -> list[date]:
        """Return the months with seats, and those that had seats when they were last written."""
        if not months:
            return []
        kept = {row.key.day for row in ledger_rows(self._org, months, table=self._config.table)}
        return [month for month in months if month in kept or self._build_rows(month)]

    def make_months(
        self, attempts: Mapping[date, Attempt], round_: int
    ) -> Iterator[tuple[date, Publish]]:
        """Yield each month of the attempts with its publishing function, newest first."""
        # The plans are read after the attempts were taken: the higher number must have newer plans.
        self._plans = self._read_plans()
        for month in sorted(attempts, reverse=True):
            rows = self._build_rows(month)
            folder = self._org.spool_dir / f"{month}_{round_}"
            spool = Spool.open(folder, fingerprint=fingerprint_of(rows))
            if not spool.complete:
                spool.write_page(rows, next_token=None)
            sealed = spool.write_day_files(
                _parse_month, [month], money_of=_read_money, unique_by=_UNIQUE_BY
            )[month]
            yield (
                month,
                partial(
                    publish_sealed,
                    self._settling_until_over(month),
                    attempts[month],
                    sealed,
                    table=self._config.table,
                    schema=self.schema,
                    now=self._org.now(),
                ),
            )

    def _build_rows(self, month: date) -> list[dict[str, Any]]:
        return build_month_rows(self._plans, month, until=self._today)

    def _read_plans(self) -> list[SeatPlan]:
        folder = self._org.settings.configs_dir
        names = {"dataset": self._org.dataset, "plans_table": self._config.plans_table}
        rows = run_file(self._org.warehouse, folder / self._config.plans_file, identifiers=names)
        return [plan_from_row(row) for row in rows]

    def _settling_until_over(self, month: date) -> OrgContext:
        """Return a context whose slices settle with the last day of the month, not the first."""
        pipeline = self._org.pipeline
        rest = (next_month(month) - month).days - 1
        return replace(
            self._org, pipeline=replace(pipeline, settle_days=pipeline.settle_days + rest)
        )


def _list_months(today: date, months: int) -> Iterable[date]:
    month = today.replace(day=1)
    yield month
    for _ in range(months):
        month = (month - timedelta(days=1)).replace(day=1)
        yield month


def _parse_month(row: Mapping[str, Any]) -> date:
    return date.fromisoformat(row["usage_month"])


def _read_money(row: Mapping[str, Any]) -> Money:
    return Money(row["currency"], "computed", Decimal(row["cost"]))
