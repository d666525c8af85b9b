"""Select the orgs and days of one Airflow run, in the first task of every org pipeline.

The gate checks every org again here, whatever triggered the run: Airflow's UI and schedule know
nothing of subscriptions, integrations and quotas. The order of the orgs is fixed, so that a mapped
index keeps its org when the task is retried.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, Protocol

from convergence.errors import (
    ConvergenceError,
    IntegrationInvalidError,
    LimitError,
    NotFoundError,
    PipelineUnavailableError,
    RequestError,
    RetryableError,
    SubscriptionInactiveError,
)
from convergence.pipelines.running.requested_days import parse_requested_days
from convergence.pipelines.running.uncovered_days import find_uncovered_days
from convergence.processors.batch import Batch, OrgSlice, build_run_error
from convergence.processors.context import PipelineInfo
from convergence.processors.run_conf import (
    ORG_RUN_ID,
    ORG_SLUG,
    check_org_conf,
    check_partial_params,
    merge_params,
)
from convergence.runs.admission import require_enabled
from convergence.runs.days import compute_first_day, find_due_days
from convergence.runs.eligibility import Eligibility, OrgSelection
from convergence.runs.slice_states import CHECKED, Action
from convergence.state.org_runs import OrgRun, RunError, RunStatus, org_run_id
from convergence.state.schema.column_types import RunTrigger
from convergence.state.slots import SlotTaken

if TYPE_CHECKING:
    from convergence.providers.cost_streams import Stream
    from convergence.runs.ledger import LedgerRow, SliceEnd
    from convergence.runs.slices import SliceKey
    from convergence.state.pipeline_configs import PipelineConfig

MAX_INDEXES = 50

log = logging.getLogger(__name__)


class GateKeeper(Protocol):
    """Decides which orgs may run: `runs.eligibility.EligibilityChecker`."""

    def select_orgs(
        self, *, provider: str | None, now: datetime, org_slugs: Sequence[str] | None = None
    ) -> OrgSelection:
        """Return the eligible orgs among all orgs, or among the named ones."""


class LedgerReader(Protocol):
    """The ends of slices: `runs.ledger.Ledger`."""

    def read_ends(
        self, actions: Collection[Action], *, orgs: Sequence[str], pipeline_id: str, since: date
    ) -> Mapping[SliceKey, SliceEnd]:
        """Return the end of the newest attempt at each slice, for the listed actions."""

    def read_latest_of_pipelines(
        self, pipeline_ids: Collection[str], *, orgs: Sequence[str], since: date | None = None
    ) -> Mapping[SliceKey, LedgerRow]:
        """Return the newest content of each slice of the pipelines."""


class Admissions(Protocol):
    """The run records: `runs.records.RunRecords`, with the live state of the runs."""

    def get(self, run_id: str) -> OrgRun | None:
        """Return the run, or None if it is unknown."""

    def list_configs(self, pipeline_id: str) -> Mapping[str, PipelineConfig]:
        """Return the orgs' configurations of the pipeline, by org."""

    def of_dag_run(self, dag_id: str, dag_run_id: str) -> Sequence[OrgRun]:
        """Return the org runs of an Airflow run."""

    def admit_run(self, run: OrgRun, *, eligibility: Eligibility, now: datetime) -> SlotTaken:
        """Admit a run: `runs.admission.admit_run`, in a transaction of its own."""

    def begin_run(self, run_id: str, *, now: datetime, days: Sequence[date] | None = None) -> bool:
        """Move a run to RUNNING, with its days."""

    def finish_run(
        self, run_id: str, status: RunStatus, *, now: datetime, error: RunError | None = None
    ) -> bool:
        """End a run."""


@dataclass(frozen=True, kw_only=True)
class Selector:
    """Select the orgs and days of one Airflow run.

    Attributes:
        provider: table id of the provider that an org must have connected (OPENAI), or None.
        dag_run_id: Airflow's id of the run.
        scheduled: whether the schedule started the run.
        now: the current time.
        streams: every cost stream: a day stays due for a bill that does not cover it.
    """

    pipeline: PipelineInfo
    provider: str | None
    gate: GateKeeper
    ledger: LedgerReader
    runs: Admissions
    dag_run_id: str
    scheduled: bool
    now: datetime
    streams: Sequence[Stream] = ()

    def select(self, conf: Mapping[str, Any]) -> list[Batch]:
        """Return the batches to map over; an empty list if nothing is due.

        Args:
            conf: the conf of the run: `org_run_id` from the API, or `org_slug` and params.

        Raises:
            RequestError: a key of the conf is invalid, or names an org that is not eligible.
        """
        params = check_org_conf(conf, pipeline=self.pipeline)
        run_id = conf.get(ORG_RUN_ID)
        if run_id is not None:
            return split_into_batches(self._select_triggered(str(run_id), conf))
        days = parse_requested_days(params, today=self._today)
        org_slug = conf.get(ORG_SLUG)
        if org_slug is not None:
            return split_into_batches(self._select_one_org(str(org_slug), params, days))
        return split_into_batches(self._select_fleet(params, days))

    @property
    def _today(self) -> date:
        return self.now.astimezone(UTC).date()

    def _select_triggered(self, run_id: str, conf: Mapping[str, Any]) -> list[OrgSlice]:
        extra = sorted(
            key for key, value in conf.items() if value is not None and key != ORG_RUN_ID
        )
        if extra:
            raise RequestError(f"{extra[0]} can't be combined with {ORG_RUN_ID}")
        run = self.runs.get(run_id)
        if run is None or (run.dag_id, run.dag_run_id) != (self.pipeline.dag_id, self.dag_run_id):
            raise RequestError(f"{ORG_RUN_ID}: this run of the pipeline has no such org run")
        if run.status is RunStatus.CANCELLED:
            log.info("%s was cancelled before it started", run_id)
            return []
        try:
            check_partial_params(run.params, pipeline=self.pipeline)
            eligibility = self._check_eligibility(run.org_slug)
            days = run.days or self._due([eligibility])[run.org_slug]
        except ConvergenceError as error:
            if not isinstance(error, RetryableError):
                self.runs.finish_run(
                    run_id, RunStatus.FAILED, now=self.now, error=build_run_error(error)
                )
            raise
        self.runs.begin_run(run_id, now=self.now, days=days)
        return self._unless_idle([OrgSlice(run.org_slug, run_id, tuple(days))])

    def _select_one_org(
        self, org_slug: str, params: Mapping[str, Any], requested: Sequence[date] | None
    ) -> list[OrgSlice]:
        eligibility = self._check_eligibility(org_slug)
        config = self.runs.list_configs(self.pipeline.pipeline_id).get(org_slug)
        require_enabled(config)
        run_params = self._merge_params(params, config)
        recorded = self._recorded_days().get(org_slug)
        days = (
            requested if requested is not None else recorded or self._due([eligibility])[org_slug]
        )
        slice_ = self._admit(eligibility, run_params, days)
        if isinstance(slice_, RunError):
            raise LimitError(f"{org_slug}: {slice_.message}")
        return self._unless_idle([slice_])

    def _select_fleet(
        self, params: Mapping[str, Any], requested: Sequence[date] | None
    ) -> list[OrgSlice]:
        selection = self.gate.select_orgs(provider=self.provider, now=self.now)
        for org_slug, reason in selection.denied:
            log.info("%s is skipped: %s", org_slug, reason.message)
        configs = self.runs.list_configs(self.pipeline.pipeline_id)
        eligible = [
            one for one in selection.eligible if self._joins_fleet(configs.get(one.org_slug))
        ]
        due = {**self._due(eligible), **self._recorded_days()} if requested is None else {}
        chosen: list[OrgSlice] = []
        for eligibility in sorted(eligible, key=lambda one: one.org_slug):
            days = requested if requested is not None else due[eligibility.org_slug]
            if self.pipeline.tables and not days:
                continue
            try:
                run_params = self._merge_params(params, configs.get(eligibility.org_slug))
            except PipelineUnavailableError as error:
                log.warning("%s is skipped: %s", eligibility.org_slug, error.message)
                continue
            admitted = self._admit(eligibility, run_params, days)
            if isinstance(admitted, RunError):
                log.warning("%s is skipped: %s", eligibility.org_slug, admitted.message)
            else:
                chosen.append(admitted)
        log.info("%d of %d eligible orgs have work", len(chosen), len(selection.eligible))
        return chosen

    def _joins_fleet(self, config: PipelineConfig | None) -> bool:
        """Return whether an org joins this run: enabled, and no schedule of the org replaces it."""
        if config is None:
            return True
        return config.enabled and not (self.scheduled and config.schedule is not None)

    def _merge_params(
        self, params: Mapping[str, Any], config: PipelineConfig | None
    ) -> dict[str, Any]:
        return merge_params(params, config.params if config else {}, pipeline=self.pipeline)

    def _check_eligibility(self, org_slug: str) -> Eligibility:
        selection = self.gate.select_orgs(
            provider=self.provider, now=self.now, org_slugs=[org_slug]
        )
        for eligibility in selection.eligible:
            return eligibility
        for _, reason in selection.denied:
            raise _DENIAL_ERRORS.get(reason.code, RequestError)(f"{org_slug}: {reason.message}")
        raise NotFoundError(f"{ORG_SLUG}: there is no organization {org_slug!r}")

    def _recorded_days(self) -> dict[str, tuple[date, ...]]:
        """Return the days of orgs that the run has started; a cleared run keeps them."""
        runs = self.runs.of_dag_run(self.pipeline.dag_id, self.dag_run_id)
        return {run.org_slug: run.days for run in runs if run.days}

    def _due(self, eligibilities: Sequence[Eligibility]) -> dict[str, tuple[date, ...]]:
        """Return the due days of each org, with one query of the ledger, or two for bills."""
        if not self.pipeline.tables or not eligibilities:
            return {eligibility.org_slug: () for eligibility in eligibilities}
        first = {one.org_slug: self._first_day(one) for one in eligibilities}
        rows = self.ledger.read_ends(
            CHECKED,
            orgs=sorted(first),
            pipeline_id=self.pipeline.pipeline_id,
            since=min(first.values()),
        )
        uncovered = find_uncovered_days(
            self.ledger,
            self.streams,
            pipeline_id=self.pipeline.pipeline_id,
            orgs=sorted(first),
            since=min(first.values()),
        )
        ends: dict[str, dict[date, dict[str, SliceEnd]]] = defaultdict(lambda: defaultdict(dict))
        for key, row in rows.items():
            ends[key.org_slug][key.day][key.table] = row
        return {
            org_slug: tuple(
                find_due_days(
                    ends[org_slug],
                    first_day=day,
                    today=self._today,
                    settle_days=self.pipeline.settle_days,
                    max_days=self.pipeline.max_days,
                    tables=self.pipeline.tables,
                    uncovered=uncovered.get(org_slug, ()),
                )
            )
            for org_slug, day in first.items()
        }

    def _first_day(self, eligibility: Eligibility) -> date:
        connected_on = eligibility.connected_on or self._today
        return compute_first_day(connected_on, history_days=self.pipeline.history_days)

    def _admit(
        self, eligibility: Eligibility, params: Mapping[str, Any], days: Sequence[date]
    ) -> OrgSlice | RunError:
        run = self._new_run(eligibility.org_slug, params, days)
        try:
            self.runs.admit_run(run, eligibility=eligibility, now=self.now)
        except LimitError as error:
            return RunError(LimitError.code, error.message)
        self.runs.begin_run(run.run_id, now=self.now, days=days)
        return OrgSlice(eligibility.org_slug, run.run_id, tuple(days))

    def _new_run(self, org_slug: str, params: Mapping[str, Any], days: Sequence[date]) -> OrgRun:
        trigger: RunTrigger = "schedule" if self.scheduled else "ui"
        return OrgRun(
            run_id=org_run_id(self.pipeline.dag_id, self.dag_run_id, org_slug),
            org_slug=org_slug,
            pipeline_id=self.pipeline.pipeline_id,
            dag_id=self.pipeline.dag_id,
            dag_run_id=self.dag_run_id,
            trigger=trigger,
            requested_by="scheduler" if self.scheduled else "admin",
            created_at=self.now,
            days=tuple(days),
            params=params,
        )

    def _unless_idle(self, slices: list[OrgSlice]) -> list[OrgSlice]:
        return [one for one in slices if one.days or not self.pipeline.tables]


_DENIAL_ERRORS = {
    kind.code: kind for kind in (SubscriptionInactiveError, IntegrationInvalidError, LimitError)
}


def split_into_batches(orgs: Sequence[OrgSlice], *, indexes: int = MAX_INDEXES) -> list[Batch]:
    """Split orgs into batches: one org per batch while they fit, else equal shares in order."""
    if len(orgs) <= indexes:
        return [Batch(org.org_slug, (org,)) for org in orgs]
    small, larger = divmod(len(orgs), indexes)
    batches: list[Batch] = []
    start = 0
    for index in range(indexes):
        end = start + small + (index < larger)
        share = tuple(orgs[start:end])
        label = f"{share[0].org_slug} … {share[-1].org_slug} ({len(share)} orgs)"
        batches.append(Batch(label, share))
        start = end
    return batches
