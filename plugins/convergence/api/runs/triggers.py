"""Triggers: subscription, idempotency, integration, days, quota, then Airflow.

The guard has checked key, org, scope and rate before. Every admitted run either reaches Airflow or
ends with a reason: none stays without an outcome.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from functools import partial
from typing import Any

from sqlalchemy import Connection

from convergence.api.http.context import RequestContext
from convergence.api.http.idempotency import SAME_TRIGGER, ApiResult, Write
from convergence.api.http.services import ApiServices
from convergence.api.runs.due_days import list_due_days
from convergence.api.runs.models import RunAccepted, RunRequest
from convergence.api.runs.submit import admit_run, submit_run
from convergence.errors import ConvergenceError
from convergence.pipelines.files.spec import PipelineSpec
from convergence.pipelines.running.requested_days import DATE, END, START, parse_requested_days
from convergence.processors import run_conf
from convergence.runs.admission import require_enabled
from convergence.runs.eligibility import Eligibility
from convergence.runs.records import move_run, record_name
from convergence.state import org_runs, pipeline_configs
from convergence.state.org_runs import OrgRun, RunStatus, org_run_id
from convergence.tenants.audit import Actor

_DAY_PARAMS = (DATE, START, END)
NOTHING_DUE = (
    "No day is due: every complete day is final or was checked today. "
    "Request days by date to run them again."
)


@dataclass(frozen=True)
class TriggerRequest:
    """A checked request to run a pipeline.

    Attributes:
        days: requested days; None for the days that are due.
        requested: requested params, including days.
    """

    org_slug: str
    pipeline: PipelineSpec
    days: tuple[date, ...] | None
    requested: Mapping[str, Any]
    context: RequestContext
    by: Actor
    runs_url: str
    now: datetime

    @property
    def params(self) -> dict[str, Any]:
        """Requested params without days."""
        return _remove_days(self.requested)

    @property
    def same(self) -> dict[str, Any]:
        """The fields by which two triggers are equal."""
        return {
            "pipeline": self.pipeline.dag_id,
            "days": None if self.days is None else [day.isoformat() for day in self.days],
            "params": self.params,
        }


def read_trigger(
    org_slug: str,
    pipeline: PipelineSpec,
    request: RunRequest,
    *,
    context: RequestContext,
    by: Actor,
    runs_url: str,
    now: datetime,
) -> TriggerRequest:
    """Check a request against the calendar and the pipeline's params.

    Raises:
        RequestError: a date or a param is invalid; the error lists accepted values.
    """
    named = zip(_DAY_PARAMS, (request.day, request.start_date, request.end_date), strict=True)
    requested = {name: day.isoformat() for name, day in named if day is not None}
    days = parse_requested_days(requested, today=now.astimezone(UTC).date())
    info = pipeline.build_info()
    values = {**(request.model_extra or {})}
    values |= {name: day for name, day in requested.items() if name in info.params["properties"]}
    params = run_conf.check_partial_params(values, pipeline=info)
    return TriggerRequest(org_slug, pipeline, days, params, context, by, runs_url, now)


def merge_params(conn: Connection, trigger: TriggerRequest) -> dict[str, Any]:
    """Return the run's params: requested ones, then the org's settings, then the defaults.

    Raises:
        RequestError: a required param is missing.
        PipelineDisabledError: the org has disabled the pipeline.
        PipelineUnavailableError: the org's settings no longer fit the pipeline.
    """
    config = pipeline_configs.get_config(conn, trigger.org_slug, trigger.pipeline.pipeline_id)
    settings = require_enabled(config)
    return _remove_days(
        run_conf.merge_params(trigger.requested, settings, pipeline=trigger.pipeline.build_info())
    )


def _remove_days(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in _DAY_PARAMS}


async def start_run(
    trigger: TriggerRequest, *, services: ApiServices, key: str | None
) -> ApiResult:
    """Start the run, or return the result of an equal request.

    Args:
        trigger: the request.
        services: of this process.
        key: the caller's `Idempotency-Key`.

    Raises:
        SubscriptionInactiveError, IntegrationInvalidError, ConflictError: the org is not eligible.
        RequestError: a required param is missing.
        LimitError: the plan's quota is used up.
        PipelineUnavailableError, ConfigurationError: Airflow can't run the pipeline.
        OrchestratorUnavailableError: Airflow does not respond.
    """
    start = _Start(trigger, services, await _find_dag_error(trigger.pipeline.dag_id, services))
    org, same, claims = trigger.org_slug, trigger.same, services.idempotency
    # Without a key of its caller, equal triggers within a minute are one request.
    claiming = (
        claims.claim_async(org, key, request=same, prepare=start.prepare)
        if key is not None
        else claims.claim_equal(org, request=same, ttl=SAME_TRIGGER, prepare=start.prepare)
    )
    async with claiming as claim:
        if claim.is_new:
            claim.complete(await start.submit())
    return claim.result


class _Start:
    """One trigger: checks before the claim, admission within it, submission after it.

    An error found by the checks denies this trigger, but not the stored result of an equal one.
    """

    def __init__(
        self, trigger: TriggerRequest, services: ApiServices, error: ConvergenceError | None
    ) -> None:
        self._trigger = trigger
        self._services = services
        self._error = error
        self._run: OrgRun | None = None

    def prepare(self) -> Write:
        """Check everything except the quota, and return what admits the run."""
        trigger, gate = self._trigger, self._services.gate
        gate.require_eligible(trigger.org_slug, provider=None, now=trigger.now)
        try:
            if self._error is not None:
                raise self._error
            provider = self._services.get_table_id(trigger.pipeline.provider)
            eligibility = gate.require_eligible(
                trigger.org_slug, provider=provider, now=trigger.now
            )
            days = self._list_days(eligibility)
        except ConvergenceError as error:
            return partial(_raise_error, error=error)
        return partial(self._admit_run, days=days, eligibility=eligibility)

    def _list_days(self, eligibility: Eligibility) -> tuple[date, ...]:
        trigger = self._trigger
        if trigger.days is not None:
            return trigger.days
        return list_due_days(
            trigger.pipeline, eligibility, services=self._services, now=trigger.now
        )

    def _admit_run(
        self, conn: Connection, *, days: tuple[date, ...], eligibility: Eligibility
    ) -> None:
        trigger = self._trigger
        run = _build_run(trigger, days, merge_params(conn, trigger))
        if trigger.days is None and not days and trigger.pipeline.tables:
            run = _record_nothing_due(conn, run)
        else:
            admit_run(conn, run, eligibility=eligibility, by=trigger.by, now=trigger.now)
        self._run = run

    async def submit(self) -> ApiResult:
        """Submit the admitted run to Airflow."""
        run = self._run
        assert run is not None  # noqa: S101 - the first claimant has admitted the run
        if not run.is_live:
            return _build_accepted(self._trigger, run, message=NOTHING_DUE)
        await submit_run(run, services=self._services)

        def record_queued(conn: Connection) -> None:
            move_run(conn, run.run_id, RunStatus.QUEUED, now=datetime.now(UTC))

        return _build_accepted(
            self._trigger, replace(run, status=RunStatus.QUEUED), record=record_queued
        )


def _raise_error(_conn: Connection, *, error: ConvergenceError) -> None:
    raise error


async def _find_dag_error(dag_id: str, services: ApiServices) -> ConvergenceError | None:
    """Return why Airflow would not run the pipeline at the moment."""
    try:
        return await services.check_dag(dag_id)
    except ConvergenceError as error:
        return error


def _build_run(
    trigger: TriggerRequest, days: tuple[date, ...], params: Mapping[str, Any]
) -> OrgRun:
    dag_id = trigger.pipeline.dag_id
    # The instant distinguishes a later, equal trigger; within the minute there is only this one.
    identity = f"{trigger.org_slug}|{trigger.context.request_id}|{trigger.now.isoformat()}"
    stamp = f"{trigger.now:%Y%m%dT%H%M%S}"
    dag_run_id = f"api__{stamp}__{hashlib.sha256(identity.encode()).hexdigest()[:16]}"
    return OrgRun(
        run_id=org_run_id(dag_id, dag_run_id, trigger.org_slug),
        org_slug=trigger.org_slug,
        pipeline_id=trigger.pipeline.pipeline_id,
        dag_id=dag_id,
        dag_run_id=dag_run_id,
        trigger="api",
        requested_by=trigger.context.caller.key_id,
        created_at=trigger.now,
        status=RunStatus.PENDING,
        days=days,
        params=params,
        request_id=trigger.context.request_id,
    )


def _record_nothing_due(conn: Connection, run: OrgRun) -> OrgRun:
    """Record a run without due days: it uses no quota and is not submitted to Airflow."""
    org_runs.insert_run(conn, run)
    org_runs.refund_run(conn, run.run_id)
    move_run(conn, run.run_id, RunStatus.RUNNING, now=run.created_at)
    move_run(conn, run.run_id, RunStatus.SUCCESS, now=run.created_at)
    return replace(run, status=RunStatus.SUCCESS)


def _build_accepted(
    trigger: TriggerRequest,
    run: OrgRun,
    *,
    message: str | None = None,
    record: Write | None = None,
) -> ApiResult:
    body = RunAccepted(
        run_id=run.run_id,
        pipeline_id=record_name(run),
        pipeline=trigger.pipeline.url_path,
        status=run.status.value,
        status_url=f"{trigger.runs_url}/{run.run_id}",
        days=sorted(run.days),
        message=message,
    )
    document = body.model_dump(mode="json", exclude_none=True)
    return ApiResult(202, document, record=record)
