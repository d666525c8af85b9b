"""A new edition of a price book for every org: its defaults follow, what it owns stays.

Costs of past days are left as they are. Which of them would be others is found before anything
is written and kept in the audit log with the change; a pipeline that prices again can then be run.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, timedelta

from convergence.errors import FatalError, RetryableError
from convergence.processors.batch import (
    MAX_PARALLEL_ORGS,
    build_run_error,
    is_retryable,
    log_unexpected_error,
)
from convergence.processors.context import PlatformContext, StepResult
from convergence.processors.lib.daily.day_ranges import contiguous
from convergence.processors.lib.pricing.price_book import digest
from convergence.processors.lib.pricing.price_changes import Change, changes
from convergence.processors.lib.pricing.price_seed import Shelf, merge
from convergence.processors.lib.pricing.pricing_config import RolloutConfig
from convergence.providers.registry import load_registry
from convergence.runs.eligibility import EligibilityChecker
from convergence.tenants.audit import Actor, AuditedAction, audit_change
from convergence.warehouse.datasets import list_tables
from convergence.warehouse.evolve import ensure_table
from convergence.warehouse.names import TableName
from convergence.warehouse.params import typed
from convergence.warehouse.query import Row, run_file

MOST_TOLD = 50
"""Orgs whose days are in the step's answer; the audit log has them all."""
ACTION = "price.rollout"


@dataclass(frozen=True, slots=True)
class RolledOut:
    """What the edition did for one org.

    Attributes:
        rows: defaults written or removed; 0 when the org had the edition.
        days: past days, oldest first, whose stored cost was priced with defaults that changed.
        error: why it failed, if it did.
    """

    org_slug: str
    rows: int = 0
    days: tuple[date, ...] = ()
    error: Exception | None = None


def roll_out(platform: PlatformContext, config: RolloutConfig) -> StepResult:
    """Bring every eligible org's defaults up to the book, each on its own.

    Raises:
        PriceBookError: the book is wrong.
        RetryableError, FatalError: some orgs failed; the fact `orgs` names them.
    """
    edition = Edition(platform, config)
    with ThreadPoolExecutor(MAX_PARALLEL_ORGS, platform.step) as pool:
        done = list(pool.map(edition.bring_to, edition.orgs()))
    failed = {one.org_slug: one.error for one in done if one.error is not None}
    if failed:
        kind = RetryableError if any(map(is_retryable, failed.values())) else FatalError
        told = {org: build_run_error(error).code for org, error in sorted(failed.items())}
        raise kind(f"{len(failed)} of {len(done)} orgs failed", orgs=told)
    changed = [one for one in done if one.rows]
    late = [one for one in changed if one.days]
    return StepResult(
        rows_processed=sum(one.rows for one in done),
        details={
            "edition": edition.name,
            "orgs": len(done),
            "orgs_changed": len(changed),
            "orgs_with_days_to_reprice": len(late),
            "days_to_reprice": {one.org_slug: told_days(one.days) for one in late[:MOST_TOLD]},
        },
    )


class Edition:
    """One edition of one provider's book, on its way to the orgs; threads share it."""

    def __init__(self, platform: PlatformContext, config: RolloutConfig) -> None:
        self._platform = platform
        self._config = config
        self._folder = platform.settings.configs_dir
        self._shelf = Shelf.read(self._folder, config)
        self._book = [dict(price.values) for price in self._shelf.book.prices]
        self._digest = digest(self._book)

    @property
    def name(self) -> str:
        """The edition."""
        return self._shelf.book.edition

    def orgs(self) -> list[str]:
        """Orgs that may run the provider's pipelines; any other gets the edition once it may."""
        provider = load_registry(self._platform.settings).get(self._config.provider)
        gate, now = EligibilityChecker(self._platform.warehouse), self._platform.now()
        chosen = gate.select_orgs(provider=provider.table_id, now=now)
        return sorted(one.org_slug for one in chosen.eligible)

    def bring_to(self, org_slug: str) -> RolledOut:
        """Bring it to one org; what goes wrong is its own."""
        log = self._platform.log
        if self._platform.stop.is_set():
            return RolledOut(org_slug, error=RetryableError("The task was stopped"))
        try:
            done = self._bring_to(org_slug)
        except Exception as error:  # noqa: BLE001  # one org's failure is its own, whatever it is
            log_unexpected_error(error, log)
            log.warning("%s: %s", org_slug, build_run_error(error).message)
            return RolledOut(org_slug, error=error)
        if done.rows:
            days = ", ".join(told_days(done.days)) or "none"
            log.info(
                "%s has edition %s: %d rows, past days to price again: %s",
                org_slug,
                self.name,
                done.rows,
                days,
            )
        return done

    def _bring_to(self, org_slug: str) -> RolledOut:
        platform, config = self._platform, self._config
        name = TableName(platform.settings.org_dataset(org_slug), config.table)
        ensure_table(platform.warehouse, name, self._shelf.schema)
        before = self._defaults(name)
        if digest(before) == self._digest:
            return RolledOut(org_slug)
        days = self._days(name.dataset, changes(before, self._book))
        by = Actor("system", platform.dag_run_id)
        act = AuditedAction(org_slug, by, ACTION, f"{config.provider}/{config.table}@{self.name}")
        details = {"days_to_reprice": told_days(days)}
        with audit_change(platform.store, act, now=platform.now(), details=details):
            rows = merge(platform.warehouse, self._shelf, name, now=platform.now())
        return RolledOut(org_slug, rows, days)

    def _defaults(self, name: TableName) -> list[Row]:
        rows = run_file(
            self._platform.warehouse,
            self._folder / self._config.defaults_file,
            identifiers={"dataset": name.dataset, "table": name.table},
        )
        return [{column: row[column] for column in self._shelf.columns} for row in rows]

    def _days(self, dataset: str, found: Iterable[Change]) -> tuple[date, ...]:
        yesterday = self._platform.now().date() - timedelta(days=1)
        past = [change for change in found if change.first_day <= yesterday]
        config = self._config
        if config.cost_table is None or not past:
            return ()
        # An org of before the provider was added has priced nothing with it.
        if config.cost_table not in list_tables(self._platform.warehouse, dataset):
            return ()
        rows = run_file(
            self._platform.warehouse,
            self._folder / config.days_file,
            identifiers={
                "dataset": dataset,
                "cost_table": config.cost_table,
                "tool_column": config.tool_column,
                "window_columns": config.window_columns,
            },
            params={
                "changes": [
                    {**dict(one.sku), "first_day": one.first_day, "last_day": one.last_day}
                    for one in past
                ],
                "first_day": typed(min(one.first_day for one in past), "DATE"),
                "last_day": typed(yesterday, "DATE"),
            },
        )
        return tuple(row["day"] for row in rows)


def told_days(days: Sequence[date]) -> list[str]:
    """Days as ranges, oldest first: `2026-10-14`, `2026-10-20..2026-10-31`."""
    ranges = sorted(contiguous(days, longest=10_000))
    return [
        str(one.first) if one.first == one.last else f"{one.first}..{one.last}" for one in ranges
    ]
