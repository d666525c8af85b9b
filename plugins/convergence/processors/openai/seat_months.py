"""Cost of an org's plans by month: each month is one slice, made again while it may change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, timedelta
from decimal import Decimal
from typing import Any

from convergence.extract.spool import Spool, fingerprint_of
from convergence.processors.context import OrgContext, StepResult
from convergence.processors.lib.daily.cost_view import show_in_cost_daily
from convergence.processors.lib.daily.day_source import DayContent, DaySource
from convergence.processors.lib.daily.slices import list_ledger_rows, publish_days
from convergence.processors.openai.config import SubscriptionsConfig
from convergence.processors.openai.proration import (
    SeatPlan,
    build_month_rows,
    next_month,
    plan_from_row,
)
from convergence.runs.publisher import Attempt
from convergence.warehouse.day_file import Money
from convergence.warehouse.names import TableName
from convergence.warehouse.query import run_file
from convergence.warehouse.schemas import TableSchema
from convergence.warehouse.tables.evolve import ensure_table

_UNIQUE_BY = ("plan_name", "billing_period", "period_start")


def publish_months(org: OrgContext, config: SubscriptionsConfig) -> StepResult:
    """Publish the requested months, or else the last months and the current one up to yesterday.

    The result also has the sums by currency and the months.
    """
    months = SeatMonths(org, config)
    table = TableName(org.dataset, config.table)
    requested = months.list_requested()
    ensure_table(org.warehouse, table, months.schema)
    show_in_cost_daily(org, config.source_view)
    pending = months.select_months_with_seats(requested)
    published = publish_days(org, months, pending)
    totals: dict[str, Decimal] = {}
    for row in published.rows.values():
        for money in row.totals:
            totals[money.currency] = totals.get(money.currency, Decimal(0)) + money.amount
    return StepResult(
        rows_processed=published.row_count,
        destination_table=str(table),
        details={
            **published.build_details(),
            "months": [f"{month:%Y-%m}" for month in sorted(published.rows)],
            "months_without_seats": [f"{m:%Y-%m}" for m in sorted(set(requested) - set(pending))],
            "effective_cost": {name: format(sum_, "f") for name, sum_ in sorted(totals.items())},
            "basis": "computed",
        },
    )


class SeatMonths(DaySource):
    """Months of one org's plans in one run; the day of a month's slice is its first day."""

    def __init__(self, org: OrgContext, config: SubscriptionsConfig) -> None:
        self._org = org
        self._config = config
        self._round_number = 0
        self._today = org.now().astimezone(UTC).date()
        self.table = config.table
        self.schema = TableSchema.load(org.settings.configs_dir / config.schema_file)
        self._plans = self._read_plans()

    def list_requested(self) -> list[date]:
        """Return the first days of the requested months before today, newest first."""
        if self._org.days:
            months = {day.replace(day=1) for day in self._org.days}
        else:
            months = set(_list_months_back(self._today, self._config.months))
        return sorted((month for month in months if month < self._today), reverse=True)

    def select_months_with_seats(self, months: Sequence[date]) -> list[date]:
        """Return the months with seats, and those that had seats when they were last written."""
        if not months:
            return []
        kept = {
            row.key.day for row in list_ledger_rows(self._org, months, table=self._config.table)
        }
        return [month for month in months if month in kept or self._build_rows(month)]

    def prepare(self, attempts: Mapping[date, Attempt], *, round_number: int) -> None:
        """Read the plans again: an attempt with a higher number must have the newer plans."""
        del attempts
        self._round_number = round_number
        self._plans = self._read_plans()

    def content(self, day: date) -> DayContent:
        """Return the rows of the month that begins on this day."""
        rows = self._build_rows(day)
        folder = self._org.spool_dir / f"{day}_{self._round_number}"
        spool = Spool.open(folder, fingerprint=fingerprint_of(rows))
        if not spool.complete:
            spool.write_page(rows, next_token=None)
        files = spool.write_day_files(_get_month, [day], money_of=_read_money, unique_by=_UNIQUE_BY)
        # The slice of a month is its first day; it settles as long as the month's last day does.
        rest = (next_month(day) - day).days - 1
        settle_days = self._org.pipeline.settle_days + rest
        return DayContent(files[day], self._org.now(), settle_days=settle_days)

    def _build_rows(self, month: date) -> list[dict[str, Any]]:
        return build_month_rows(self._plans, month, until=self._today)

    def _read_plans(self) -> list[SeatPlan]:
        folder = self._org.settings.configs_dir
        names = {"dataset": self._org.dataset, "plans_table": self._config.plans_table}
        rows = run_file(self._org.warehouse, folder / self._config.plans_file, identifiers=names)
        return [plan_from_row(row) for row in rows]


def _list_months_back(today: date, months: int) -> Iterable[date]:
    month = today.replace(day=1)
    yield month
    for _ in range(months):
        month = (month - timedelta(days=1)).replace(day=1)
        yield month


def _get_month(row: Mapping[str, Any]) -> date:
    return date.fromisoformat(row["usage_month"])


def _read_money(row: Mapping[str, Any]) -> Money:
    return Money(row["currency"], "computed", Decimal(row["cost"]))
