"""Load an export's periods: find the rewritten ones, read each whole, publish its days.

The ledger has a slice per day and, per period, a slice of the files that it was last loaded from
(`aws_export_files`, on the period's first day). The files are recorded after all days are
published. So a period whose files are the same is not read again, and a period that a crash cut
short is read again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date
from typing import Any, Final

from convergence.errors import ConvergenceError, NotFoundError, RetryableError
from convergence.extract.canonical import ContentHash, encode_row
from convergence.processors.aws.bucket import Bucket
from convergence.processors.aws.config import S3DataLoaderConfig
from convergence.processors.aws.export import Export, Found, Period
from convergence.processors.aws.period import Loaded, PeriodLoader
from convergence.processors.aws.plan import Plan, plan_periods
from convergence.processors.context import OrgContext, StepResult
from convergence.processors.lib.daily.cost_view import show_in_cost_daily
from convergence.processors.lib.daily.slices import take_attempts
from convergence.runs.ledger import LedgerRow
from convergence.runs.publisher import Attempt
from convergence.runs.slices import Finality, SliceKey
from convergence.warehouse.names import TableName
from convergence.warehouse.schemas import TableSchema
from convergence.warehouse.tables.evolve import ensure_table

REVISION: Final = 2
"""Rises when the same files make other rows: every period is then loaded again."""
_MAX_LOGGED_KEYS: Final = 5


@dataclass
class Report:
    """The outcome of each period."""

    loaded: list[Loaded] = field(default_factory=list)
    put_off: list[date] = field(default_factory=list)
    failed: dict[date, ConvergenceError] = field(default_factory=dict)
    confirmed: int = 0
    lost: list[date] = field(default_factory=list)


def load_exports(org: OrgContext, config: S3DataLoaderConfig) -> StepResult:
    """Load what is new or was rewritten, and confirm the due days of what was not.

    Raises:
        RequestError: the org has not configured where its export is.
        NotFoundError: there is no export at that place.
        ConvergenceError: of a period that could not be loaded; the others were.
    """
    table = TableName(org.dataset, config.table)
    if not org.days:
        return StepResult(status="SKIPPED", destination_table=str(table))
    export = Export.of(org.params)
    bucket = Bucket.of(org, export, max_files=config.max_files)
    found = bucket.look()
    if not found.periods:
        raise NotFoundError(
            "There is no export here; the first delivery may take a day",
            at=export.url(export.data_prefix),
            foreign_files=len(found.foreign),
        )
    _lay_out(org, config)
    return _Loading(org, config, export, bucket).run(found)


def _lay_out(org: OrgContext, config: S3DataLoaderConfig) -> None:
    for name, file in (
        (config.table, config.schema_file),
        (config.files_table, config.files_schema_file),
    ):
        schema = TableSchema.load(org.settings.configs_dir / file)
        ensure_table(org.warehouse, TableName(org.dataset, name), schema)
    show_in_cost_daily(org, config.source_view)


def files_hash(period: Period, export: Export) -> str:
    """Return the content hash of a period's files, as the ledger has it."""
    content = ContentHash()
    for row in period.rows(export.kind, revision=REVISION):
        content.add(encode_row(row))
    return content.hexdigest()


class _Loading:
    """One org's export in one run."""

    def __init__(
        self, org: OrgContext, config: S3DataLoaderConfig, export: Export, bucket: Bucket
    ) -> None:
        self._org = org
        self._config = config
        self._export = export
        self._bucket = bucket
        self._report = Report()

    def run(self, found: Found) -> StepResult:
        """Load the periods, confirm unchanged days, and return the result."""
        ledger = self._ledger(found)
        plan = self._plan(found, ledger[self._config.files_table])
        # A partition that is not as it was left has its period loaded again.
        torn = self._confirm(plan.keep)
        self._report.lost = sorted(day for day in torn if day.replace(day=1) not in found.periods)
        # The same files read again later confirm a lower read.
        waiting = {
            day
            for day, row in ledger[self._config.table].items()
            if row.lower_pending and row.lower_pending.is_confirmable(self._org.now())
        }
        again = {day.replace(day=1) for day in {*torn, *waiting}}
        again &= set(found.periods) - set(plan.load)
        for first in sorted({*plan.load, *again}, reverse=True):
            self._load(first, published=ledger[self._config.table])
        self._warn(found, plan)
        if self._report.failed:
            raise _worst(self._report.failed)
        return self._result(found, plan)

    def _ledger(self, found: Found) -> dict[str, dict[date, LedgerRow]]:
        """Return the newest row of every day, by table; one query."""
        rows = self._org.ledger.read_latest(
            orgs=[self._org.org_slug],
            pipeline_id=self._org.pipeline.pipeline_id,
            since=min([*found.periods, *self._org.days]).replace(day=1),
        )
        latest: dict[str, dict[date, LedgerRow]] = {
            self._config.table: {},
            self._config.files_table: {},
        }
        for key, row in rows.items():
            latest.setdefault(key.table, {})[key.day] = row
        return latest

    def _plan(self, found: Found, loaded: Mapping[date, LedgerRow]) -> Plan:
        periods = found.periods
        return plan_periods(
            periods,
            {first: files_hash(period, self._export) for first, period in periods.items()},
            {first: row.content_hash for first, row in loaded.items()},
            due=self._org.days,
            today=self._org.now().astimezone(UTC).date(),
            max_periods=self._config.max_periods,
        )

    def _load(self, first: date, *, published: Mapping[date, LedgerRow]) -> None:
        loader = PeriodLoader(
            self._org, self._config, self._export, self._bucket, first=first, revision=REVISION
        )
        try:
            loaded = loader.load_period(published)
        except ConvergenceError as error:
            if self._org.stop.is_set():
                raise
            self._org.log.error("%s: %s", f"{first:%Y-%m}", error)  # noqa: TRY400  # its text is all
            self._report.failed[first] = error
            return
        if loaded is None:
            self._report.put_off.append(first)
        else:
            self._report.loaded.append(loaded)

    def _confirm(self, days: Sequence[date]) -> set[date]:
        """Record that days were looked at; those whose partitions are not as they were left."""
        if not days:
            return set()
        attempts = take_attempts(self._org, days, table=self._config.table)
        finals = [one for one in attempts.values() if _is_final(one)]
        others = [one for one in attempts.values() if not _is_final(one)]
        # What an invoice has made final stays so, whatever the calendar says.
        confirmed = self._confirmed(finals, settle_days=0) | self._confirmed(
            others, settle_days=self._org.pipeline.settle_days
        )
        self._report.confirmed = len(confirmed)
        return {day for day, attempt in attempts.items() if attempt.key not in confirmed}

    def _confirmed(
        self, attempts: Sequence[Attempt], *, settle_days: int
    ) -> dict[SliceKey, LedgerRow]:
        return self._org.publisher.confirm_unchanged(
            attempts,
            table=TableName(self._org.dataset, self._config.table),
            run_id=self._org.run_id,
            now=self._org.now(),
            settle_days=settle_days,
        )

    def _warn(self, found: Found, plan: Plan) -> None:
        log = self._org.log
        if found.foreign:
            log.warning(
                "%d files do not belong to the export and were not read, such as %s",
                len(found.foreign),
                ", ".join(found.foreign[:_MAX_LOGGED_KEYS]),
            )
        for day in self._report.lost:
            log.warning("%s is not as it was published, and its period is gone", day)
        for first in plan.vanished:
            log.warning("%s is no longer in the bucket; what was published stays", f"{first:%Y-%m}")
        for first in self._report.put_off:
            log.warning("%s is being delivered; the next run loads it", f"{first:%Y-%m}")

    def _result(self, found: Found, plan: Plan) -> StepResult:
        report, loaded = self._report, self._report.loaded
        unknown: Counter[str] = sum((one.unknown for one in loaded), Counter())
        details: dict[str, Any] = {
            "days_published": sum(one.published for one in loaded),
            "days_unchanged": sum(one.unchanged for one in loaded) + report.confirmed,
            "days_without_export": len(plan.without_export),
            "lines_read": sum(one.lines for one in loaded),
            "periods_loaded": _months(one.first for one in loaded),
            "periods_invoiced": _months(one.first for one in loaded if one.invoiced),
            "periods_later": _months([*plan.later, *report.put_off]),
            "periods_vanished": _months(plan.vanished),
            "foreign_files": len(found.foreign),
            "unknown_columns": dict(sorted(unknown.items())),
            "unknown_line_types": sorted({kind for one in loaded for kind in one.unknown_types}),
            **dict(sum((one.counted for one in loaded), Counter[str]())),
        }
        return StepResult(
            rows_processed=sum(one.rows for one in loaded),
            destination_table=str(TableName(self._org.dataset, self._config.table)),
            details=details,
        )


def _is_final(attempt: Attempt) -> bool:
    return attempt.previous is not None and attempt.previous.finality is Finality.FINAL


def _months(firsts: Iterator[date] | Sequence[date]) -> list[str]:
    return [f"{first:%Y-%m}" for first in sorted(firsts)]


def _worst(failed: Mapping[date, ConvergenceError]) -> ConvergenceError:
    """Return the error that decides about a retry: a retryable one, else the newest period's."""
    first = max(failed, key=lambda one: (isinstance(failed[one], RetryableError), one))
    error = failed[first]
    period_details = {"period": f"{first:%Y-%m}", "periods_failed": _months(list(failed))}
    return type(error)(error.message, **{**error.details, **period_details})
