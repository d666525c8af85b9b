"""Price an org's usage in the warehouse: each day whose usage, prices or SQL have changed."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from convergence.processors.context import OrgContext, StepResult
from convergence.processors.lib.daily.cost_view import show_in_cost_daily
from convergence.processors.lib.daily.derived import DerivedDays
from convergence.processors.lib.daily.inputs import DayInputs, Inputs
from convergence.processors.lib.daily.slices import (
    find_days_done_before,
    list_ledger_rows,
    publish_days,
)
from convergence.processors.lib.pricing.price_book import hash_price_rows
from convergence.processors.lib.pricing.pricing_config import PricingConfig
from convergence.runs.publisher import Attempt, PricedDay
from convergence.runs.slices import SliceInput
from convergence.warehouse.names import TableName
from convergence.warehouse.query import Identifiers, Row, run_file, statement_source
from convergence.warehouse.schemas import TableSchema
from convergence.warehouse.tables.evolve import ensure_table

MAX_LINES = 50
"""Unpriced lines in a step's result; the table has them all."""
_LINE_COLUMNS = ("endpoint", "model", "tier", "reason", "usage_rows", "tokens")


def price_usage(org: OrgContext, config: PricingConfig) -> StepResult:
    """Price and publish the org's days.

    Raises:
        InputNotAsRecordedError: the ledger has no usage of a day, or the usage differs from it.
            Where another pipeline's usage is priced again, days without usage are skipped.
    """
    if config.slices_of is not None:
        org = replace(org, pipeline=replace(org.pipeline, pipeline_id=config.slices_of))
    pricing = PricedDays(org, config)
    table = TableName(org.dataset, config.table)
    if not org.days:
        return StepResult(status="SKIPPED", destination_table=str(table))
    ensure_table(org.warehouse, table, pricing.schema)
    show_in_cost_daily(org, config.source_view)
    # Days of an earlier try are not skipped: the try may have read other usage or prices.
    before = find_days_done_before(org, table=config.table)
    without = pricing.days_without_usage() if config.slices_of is not None else set()
    pending = sorted(set(org.days) - without, reverse=True)
    published = publish_days(org, pricing, pending)
    summary = pricing.summarize_days()
    if summary["unpriced"]:
        org.log.warning("without a price: %s", json.dumps(summary["unpriced"]))
    details = {**published.build_details(), "days_done_before": len(before), **summary}
    if without:
        details["days_without_usage"] = _format_days(without)
    return StepResult(
        rows_processed=published.row_count, destination_table=str(table), details=details
    )


class PricedDays(DerivedDays):
    """Days of one org's priced usage in one run."""

    def __init__(self, org: OrgContext, config: PricingConfig) -> None:
        super().__init__(org)
        self._config = config
        self._folder = org.settings.configs_dir
        self.table = config.table
        self.schema = TableSchema.load(self._folder / config.schema_file)
        self._prices: list[Row] = []

    @property
    def _identifiers(self) -> Identifiers:
        return self._config.identifiers(self.schema, dataset=self._org.dataset)

    @property
    def inputs(self) -> Inputs:
        """The usage, day by day, and the org's prices."""
        config = self._config
        return Inputs(self._org, daily={config.usage_table}, whole={config.pricing_table})

    def prepare(self, attempts: Mapping[date, Attempt], *, round_number: int) -> None:
        """Read the inputs of the days, and then the prices.

        The prices are read after the last writes of their table: a later change is noticed when
        the query has ended.
        """
        super().prepare(attempts, round_number=round_number)
        self._prices = self._read_prices(min(attempts), max(attempts))

    def build_query(self, inputs: DayInputs, *, now: datetime) -> PricedDay:
        """Build the query that prices one day's usage."""
        del now
        return self._build_pricing_query(
            inputs, [row for row in self._prices if _is_in_force(row, inputs.day)]
        )

    def days_without_usage(self) -> set[date]:
        """Return the requested days without published usage."""
        rows = list_ledger_rows(self._org, self._org.days, table=self._config.usage_table)
        return set(self._org.days) - {row.key.day for row in rows}

    def _read_prices(self, first: date, last: date) -> list[Row]:
        return run_file(
            self._org.warehouse,
            self._folder / self._config.prices_file,
            identifiers=self._identifiers,
            params={"first_day": first, "last_day": last},
        )

    def _build_pricing_query(self, inputs: DayInputs, prices: list[Row]) -> PricedDay:
        path = self._folder / self._config.sql_file
        usage = inputs.rows[self._config.usage_table]
        # The end of a price does not change the cost of a day on which it is in force.
        in_force = hash_price_rows({**price, "effective_to": None} for price in prices)
        parts = {
            "usage": usage.content_hash,
            "prices": in_force,
            "sql": statement_source(self._org.warehouse, path).text,
            "identifiers": self._identifiers,
            "day": usage.key.day.isoformat(),
        }
        return PricedDay(
            sql_path=path,
            identifiers=self._identifiers,
            params={"day": usage.key.day},
            content_hash=hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest(),
            totals_path=self._folder / self._config.totals_file,
            source_pages=usage.source_pages,
            inputs=(
                SliceInput(self._config.usage_table, usage.content_hash),
                SliceInput(self._config.pricing_table, in_force),
            ),
            inputs_stand=inputs.are_unchanged,
        )

    def summarize_days(self) -> dict[str, Any]:
        """Return the totals of all days by currency, and the unpriced usage by model and reason."""
        rows = run_file(
            self._org.warehouse,
            self._folder / self._config.summary_file,
            identifiers=self._identifiers,
            params={"days": sorted(self._org.days)},
        )
        return summarize_costs(rows)


def summarize_costs(rows: list[Row]) -> dict[str, Any]:
    """Return a step's totals from the rows of the summary query; amounts are text, by currency.

    Each row of usage counts once: in a total, or under a reason in `unpriced_by_reason`. Usage
    whose price is zero is in the total, and is also listed under `free`.
    """
    totals: dict[str, Decimal] = {}
    lines: dict[bool, list[dict[str, Any]]] = {True: [], False: []}
    by_reason: Counter[str] = Counter()
    for row in rows:
        priced = row["pricing_status"] == "PRICED"
        if priced:
            before = totals.get(row["currency"], Decimal(0))
            totals[row["currency"]] = before + row["effective_cost"]
        else:
            by_reason[row["reason"]] += row["usage_rows"]
        if row["reason"] is not None:
            lines[priced].append({name: row[name] for name in _LINE_COLUMNS})
    return {
        "effective_cost": {name: format(total, "f") for name, total in sorted(totals.items())},
        "basis": "computed",
        "unpriced_rows": by_reason.total(),
        "unpriced_by_reason": dict(sorted(by_reason.items())),
        "unpriced": _largest_lines(lines[False]),
        "free": _largest_lines(lines[True]),
    }


def _largest_lines(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    lines.sort(key=lambda line: (-line["usage_rows"], json.dumps(line, sort_keys=True)))
    return lines[:MAX_LINES]


def _format_days(days: Collection[date]) -> list[str]:
    return [day.isoformat() for day in sorted(days)]


def _is_in_force(price: Row, day: date) -> bool:
    ends = price["effective_to"]
    return bool(price["effective_from"] <= day and (ends is None or day < ends))
