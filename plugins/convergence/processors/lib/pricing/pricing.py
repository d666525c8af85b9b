"""The org's usage priced in the warehouse, a day only when what its cost follows from changed."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from functools import partial
from typing import Any

from convergence.processors.context import OrgContext, StepResult
from convergence.processors.lib.daily.cost_view import show_in_cost_daily
from convergence.processors.lib.daily.inputs import DayInputs, Inputs
from convergence.processors.lib.daily.reconciliation import reconciled
from convergence.processors.lib.daily.slices import (
    Publish,
    done_before,
    ledger_rows,
    publish_days,
)
from convergence.processors.lib.pricing.price_book import digest
from convergence.processors.lib.pricing.pricing_config import PricingConfig
from convergence.runs.ledger import LedgerRow
from convergence.runs.publisher import Attempt, PricedDay
from convergence.runs.slices import SliceInput
from convergence.warehouse.evolve import ensure_table
from convergence.warehouse.names import TableName
from convergence.warehouse.query import Identifiers, Row, run_file, statement_source
from convergence.warehouse.schemas import TableSchema

MOST_REASONS = 50
"""Unpriced lines in a step's answer; the table has them all."""
_TOLD = ("endpoint", "model", "tier", "reason", "usage_rows", "tokens")


def price_usage(org: OrgContext, config: PricingConfig) -> StepResult:
    """Price and publish the org's days.

    Raises:
        InputNotAsRecordedError: the usage of a day is not in the ledger, or not as the ledger
            says; where another pipeline's usage is priced again, days without any are left out.
    """
    if config.slices_of is not None:
        org = replace(org, pipeline=replace(org.pipeline, pipeline_id=config.slices_of))
    pricing = Pricing(org, config)
    if not org.days:
        return StepResult(status="SKIPPED", destination_table=str(pricing.table))
    ensure_table(org.warehouse, pricing.table, pricing.schema)
    show_in_cost_daily(org, config.source_view)
    # An earlier try may have priced other usage or prices: only equal inputs make a day done.
    before = done_before(org, table=config.table)
    without = pricing.days_without_usage() if config.slices_of is not None else set()
    todo = sorted(set(org.days) - without, reverse=True)
    published = publish_days(org, todo, table=config.table, make=pricing.make)
    summary = pricing.summary()
    if summary["unpriced"]:
        org.log.warning("without a price: %s", json.dumps(summary["unpriced"]))
    facts = {**published.facts(), "days_done_before": len(before), **summary}
    if without:
        facts["days_without_usage"] = _told(without)
    result = StepResult(
        rows_processed=published.row_count, destination_table=str(pricing.table), details=facts
    )
    return reconciled(org, result)


class Pricing:
    """One org's cost in one run."""

    def __init__(self, org: OrgContext, config: PricingConfig) -> None:
        self._org = org
        self._config = config
        self._folder = org.settings.configs_dir
        self.table = TableName(org.dataset, config.table)
        self.schema = TableSchema.load(self._folder / config.schema_file)

    @property
    def _identifiers(self) -> Identifiers:
        return self._config.identifiers(self.schema, dataset=self._org.dataset)

    def make(
        self, attempts: Mapping[date, Attempt], round_: int
    ) -> Iterator[tuple[date, Publish | None]]:
        """The cost of the days whose attempts are given, newest first."""
        del round_  # nothing is kept between rounds: usage and prices are read again
        if not attempts:
            return
        now = self._org.now()
        usage = self._inputs.read(sorted(attempts))
        # Read after the last writes were: a price that changes from here on is seen by them.
        prices = self._prices(min(attempts), max(attempts))
        for day in sorted(usage.days, reverse=True):
            query = self._priced(usage.days[day], [row for row in prices if _in_force(row, day)])
            yield day, partial(self._publish, attempts[day], query, now)
        self._inputs.end_not_observable(usage.not_observable, attempts)
        yield from ((day, None) for day in usage.not_observable)
        if usage.error is not None:
            raise usage.error

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

    def days_without_usage(self) -> set[date]:
        """Asked days whose usage nobody has published."""
        rows = ledger_rows(self._org, self._org.days, table=self._config.usage_table)
        return set(self._org.days) - {row.key.day for row in rows}

    @property
    def _inputs(self) -> Inputs:
        config = self._config
        return Inputs(self._org, daily={config.usage_table}, whole={config.pricing_table})

    def _prices(self, first: date, last: date) -> list[Row]:
        return run_file(
            self._org.warehouse,
            self._folder / self._config.prices_file,
            identifiers=self._identifiers,
            params={"first_day": first, "last_day": last},
        )

    def _priced(self, inputs: DayInputs, prices: list[Row]) -> PricedDay:
        path = self._folder / self._config.sql_file
        usage = inputs.rows[self._config.usage_table]
        # When a price will end changes nothing on a day on which it is in force.
        in_force = digest({**price, "effective_to": None} for price in prices)
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
            inputs_stand=inputs.stand,
        )

    def summary(self) -> dict[str, Any]:
        """Totals by currency, and what has no price by model, tier and reason; all the days."""
        rows = run_file(
            self._org.warehouse,
            self._folder / self._config.summary_file,
            identifiers=self._identifiers,
            params={"days": sorted(self._org.days)},
        )
        return summarize(rows)


def summarize(rows: list[Row]) -> dict[str, Any]:
    """A step's answer from the summary query's rows; amounts are text, one per currency.

    Every usage row is in it: in a total, or under a reason. `unpriced_by_reason` counts them all;
    usage that its price makes free is in the total, at nothing, and told apart.
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
            lines[priced].append({name: row[name] for name in _TOLD})
    return {
        "effective_cost": {name: format(total, "f") for name, total in sorted(totals.items())},
        "basis": "computed",
        "unpriced_rows": by_reason.total(),
        "unpriced_by_reason": dict(sorted(by_reason.items())),
        "unpriced": _most(lines[False]),
        "free": _most(lines[True]),
    }


def _most(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    lines.sort(key=lambda line: (-line["usage_rows"], json.dumps(line, sort_keys=True)))
    return lines[:MOST_REASONS]


def _told(days: Collection[date]) -> list[str]:
    return [day.isoformat() for day in sorted(days)]


def _in_force(price: Row, day: date) -> bool:
    ends = price["effective_to"]
    return bool(price["effective_from"] <= day and (ends is None or day < ends))
