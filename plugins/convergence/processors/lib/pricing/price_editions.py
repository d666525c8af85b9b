"""Roll out a new edition of a price book to every org: its defaults change, its own rates stay.

The costs of past days are not changed. The days whose cost would differ are found before anything
is written, and the audit log keeps them with the change. A person can then run a pipeline that
prices these days again.
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
from convergence.processors.lib.daily.day_ranges import split_into_ranges
from convergence.processors.lib.pricing.price_book import hash_price_rows
from convergence.processors.lib.pricing.price_changes import RateChange, find_rate_changes
from convergence.processors.lib.pricing.price_seed import LoadedBook, merge_prices
from convergence.processors.lib.pricing.pricing_config import RolloutConfig
from convergence.providers.registry import load_registry
from convergence.runs.eligibility import EligibilityChecker
from convergence.tenants.audit import Actor, AuditedAction, audit_change
from convergence.warehouse.names import TableName
from convergence.warehouse.params import typed
from convergence.warehouse.query import Row, run_file
from convergence.warehouse.tables.datasets import list_tables
from convergence.warehouse.tables.evolve import ensure_table

MAX_ORGS_REPORTED = 50
"""Orgs whose days are in the step's result; the audit log has them all."""
ACTION = "price.rollout"


@dataclass(frozen=True, slots=True)
class OrgRollout:
    """The rollout of the edition to one org.

    Attributes:
        rows: defaults written or removed; 0 when the org already had the edition.
        days: past days, oldest first, whose stored cost was priced with defaults that changed.
        error: why the rollout failed; None when it succeeded.
    """

    org_slug: str
    rows: int = 0
    days: tuple[date, ...] = ()
    error: Exception | None = None


def roll_out_edition(platform: PlatformContext, config: RolloutConfig) -> StepResult:
    """Update the defaults of every eligible org to the book; a failed org does not stop the others.

    Raises:
        PriceBookError: the book has errors.
        RetryableError, FatalError: some orgs failed; the detail `orgs` names them.
    """
    edition = EditionRollout(platform, config)
    with ThreadPoolExecutor(MAX_PARALLEL_ORGS, platform.step) as pool:
        done = list(pool.map(edition.roll_out_to, edition.list_orgs()))
    failed = {one.org_slug: one.error for one in done if one.error is not None}
    if failed:
        kind = RetryableError if any(map(is_retryable, failed.values())) else FatalError
        codes = {org: build_run_error(error).code for org, error in sorted(failed.items())}
        raise kind(f"{len(failed)} of {len(done)} orgs failed", orgs=codes)
    changed = [one for one in done if one.rows]
    to_reprice = [one for one in changed if one.days]
    return StepResult(
        rows_processed=sum(one.rows for one in done),
        details={
            "edition": edition.name,
            "orgs": len(done),
            "orgs_changed": len(changed),
            "orgs_with_days_to_reprice": len(to_reprice),
            "days_to_reprice": {
                one.org_slug: format_days(one.days) for one in to_reprice[:MAX_ORGS_REPORTED]
            },
        },
    )


class EditionRollout:
    """Rolls one edition of a provider's book out to orgs; threads may share it."""

    def __init__(self, platform: PlatformContext, config: RolloutConfig) -> None:
        self._platform = platform
        self._config = config
        self._folder = platform.settings.configs_dir
        self._loaded = LoadedBook.from_files(self._folder, config)
        self._new_defaults = [dict(price.values) for price in self._loaded.book.prices]
        self._hash = hash_price_rows(self._new_defaults)

    @property
    def name(self) -> str:
        """The edition's version."""
        return self._loaded.book.edition

    def list_orgs(self) -> list[str]:
        """Return the orgs that may run the provider's pipelines.

        Another org gets the edition once its integration is valid.
        """
        provider = load_registry(self._platform.settings).get(self._config.provider)
        gate, now = EligibilityChecker(self._platform.warehouse), self._platform.now()
        chosen = gate.select_orgs(provider=provider.table_id, now=now)
        return sorted(one.org_slug for one in chosen.eligible)

    def roll_out_to(self, org_slug: str) -> OrgRollout:
        """Update one org's defaults; an error is part of the result and is not raised."""
        log = self._platform.log
        if self._platform.stop.is_set():
            return OrgRollout(org_slug, error=RetryableError("The task was stopped"))
        try:
            done = self._update_org(org_slug)
        except Exception as error:  # noqa: BLE001  # one org must not stop the others
            log_unexpected_error(error, log)
            log.warning("%s: %s", org_slug, build_run_error(error).message)
            return OrgRollout(org_slug, error=error)
        if done.rows:
            days = ", ".join(format_days(done.days)) or "none"
            log.info(
                "%s has edition %s: %d rows, past days to price again: %s",
                org_slug,
                self.name,
                done.rows,
                days,
            )
        return done

    def _update_org(self, org_slug: str) -> OrgRollout:
        platform, config = self._platform, self._config
        name = TableName(platform.settings.org_dataset(org_slug), config.table)
        ensure_table(platform.warehouse, name, self._loaded.schema)
        before = self._read_defaults(name)
        if hash_price_rows(before) == self._hash:
            return OrgRollout(org_slug)
        days = self._find_days(name.dataset, find_rate_changes(before, self._new_defaults))
        by = Actor("system", platform.dag_run_id)
        act = AuditedAction(org_slug, by, ACTION, f"{config.provider}/{config.table}@{self.name}")
        details = {"days_to_reprice": format_days(days)}
        with audit_change(platform.store, act, now=platform.now(), details=details):
            rows = merge_prices(platform.warehouse, self._loaded, name, now=platform.now())
        return OrgRollout(org_slug, rows, days)

    def _read_defaults(self, name: TableName) -> list[Row]:
        rows = run_file(
            self._platform.warehouse,
            self._folder / self._config.defaults_file,
            identifiers={"dataset": name.dataset, "table": name.table},
        )
        return [{column: row[column] for column in self._loaded.columns} for row in rows]

    def _find_days(self, dataset: str, found: Iterable[RateChange]) -> tuple[date, ...]:
        yesterday = self._platform.now().date() - timedelta(days=1)
        past = [change for change in found if change.first_day <= yesterday]
        config = self._config
        if config.cost_table is None or not past:
            return ()
        # An org that is older than the provider has no cost table yet.
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


def format_days(days: Sequence[date]) -> list[str]:
    """Return days as ranges, oldest first: `2026-10-14`, `2026-10-20..2026-10-31`."""
    ranges = sorted(split_into_ranges(days, longest=10_000))
    return [
        str(one.first) if one.first == one.last else f"{one.first}..{one.last}" for one in ranges
    ]
