"""The way of a trigger through the gate: subscription, once, integration, days, quota, Airflow.

Key, org, scope and rate were settled before, in `guard`. Whatever is admitted here either reaches
Airflow or ends with a reason; nothing is left in between.
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
from convergence.api.http.idempotency import SAME_TRIGGER, Answer, Write
from convergence.api.http.services import Services
from convergence.api.runs.due_days import due
from convergence.api.runs.models import RunAccepted, RunRequest
from convergence.api.runs.submit import admit, hand_over
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
    "Nothing is due: every complete day is final or was checked today. "
    "Ask for days by date to have them done again."
)


@dataclass(frozen=True)
class Trigger:
    """One accepted request to run a pipeline.

    Attributes:
        days: None for what is due.
        given: the params that were asked for, days by name among them.
    """

    org_slug: str
    pipeline: PipelineSpec
    days: tuple[date, ...] | None
    given: Mapping[str, Any]
    context: RequestContext
    by: Actor
    runs_url: str
    now: datetime

    @property
    def params(self) -> dict[str, Any]:
        """What was asked for beside days."""
        return _without_days(self.given)

    @property
    def same(self) -> dict[str, Any]:
        """What makes another trigger this one."""
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
) -> Trigger:
    """Check what was asked for against the calendar and the pipeline's params.

    Raises:
        RequestError: a date or a param is wrong; the faults name what is accepted.
    """
    named = zip(_DAY_PARAMS, (request.day, request.start_date, request.end_date), strict=True)
    asked = {name: day.isoformat() for name, day in named if day is not None}
    days = parse_requested_days(asked, today=now.astimezone(UTC).date())
    facts = pipeline.build_info()
    values = {**(request.model_extra or {})}
    values |= {name: day for name, day in asked.items() if name in facts.params["properties"]}
    given = run_conf.check_partial_params(values, pipeline=facts)
    return Trigger(org_slug, pipeline, days, given, context, by, runs_url, now)


def merged_params(conn: Connection, trigger: Trigger) -> dict[str, Any]:
    """The run's params: what was asked for, else the org's own settings, else the defaults.

    Raises:
        RequestError: a required param is missing.
        PipelineDisabledError: the org has switched the pipeline off.
        PipelineUnavailableError: its settings do not fit the pipeline any more.
    """
    config = pipeline_configs.get_config(conn, trigger.org_slug, trigger.pipeline.pipeline_id)
    settings = require_enabled(config)
    return _without_days(
        run_conf.merge_params(trigger.given, settings, pipeline=trigger.pipeline.build_info())
    )


def _without_days(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in _DAY_PARAMS}


async def start(trigger: Trigger, *, services: Services, given_key: str | None) -> Answer:
    """Start the run, or answer as its equal was answered.

    Raises:
        SubscriptionInactiveError, IntegrationInvalidError, ConflictError: the gate is closed.
        RequestError: a required param is missing.
        LimitError: the plan's quota is used up.
        PipelineUnavailableError, ConfigurationError: Airflow can't run the pipeline.
        OrchestratorUnavailableError: Airflow does not answer.
    """
    start = _Start(trigger, services, await _dag_fault(trigger.pipeline.dag_id, services))
    once, org, same = services.once, trigger.org_slug, trigger.same
    if given_key is not None:
        return await once.answer(
            org, start.hand_over, given=given_key, request=same, ready=start.ready
        )
    return await once.answer_same(
        org, start.hand_over, request=same, ttl=SAME_TRIGGER, ready=start.ready
    )


class _Start:
    """One trigger on its way: what can be known beforehand, the admission, the handing over.

    A fault found beforehand refuses this trigger, but not the answer that its equal was given.
    """

    def __init__(
        self, trigger: Trigger, services: Services, fault: ConvergenceError | None
    ) -> None:
        self._trigger = trigger
        self._services = services
        self._fault = fault
        self._run: OrgRun | None = None

    def ready(self) -> Write:
        """Settle all but the quota, and give what admits the run."""
        trigger, gate = self._trigger, self._services.gate
        gate.require_eligible(trigger.org_slug, provider=None, now=trigger.now)
        try:
            if self._fault is not None:
                raise self._fault
            provider = self._services.table_id(trigger.pipeline.provider)
            standing = gate.require_eligible(trigger.org_slug, provider=provider, now=trigger.now)
            days = self._days(standing)
        except ConvergenceError as error:
            return partial(_refuse, error=error)
        return partial(self._admit, days=days, standing=standing)

    def _days(self, standing: Eligibility) -> tuple[date, ...]:
        trigger = self._trigger
        if trigger.days is not None:
            return trigger.days
        return due(trigger.pipeline, standing, services=self._services, now=trigger.now)

    def _admit(self, conn: Connection, *, days: tuple[date, ...], standing: Eligibility) -> None:
        trigger = self._trigger
        run = _new_run(trigger, days, merged_params(conn, trigger))
        if trigger.days is None and not days and trigger.pipeline.tables:
            run = _record_nothing_due(conn, run)
        else:
            admit(conn, run, standing=standing, by=trigger.by, now=trigger.now)
        self._run = run

    async def hand_over(self) -> Answer:
        """Give the admitted run to Airflow."""
        run = self._run
        assert run is not None  # noqa: S101 - who claims the key has admitted the run
        if not run.is_live:
            return _accepted(self._trigger, run, message=NOTHING_DUE)
        await hand_over(run, services=self._services)

        def queued(conn: Connection) -> None:
            move_run(conn, run.run_id, RunStatus.QUEUED, now=datetime.now(UTC))

        return _accepted(self._trigger, replace(run, status=RunStatus.QUEUED), told_with=queued)


def _refuse(_conn: Connection, *, error: ConvergenceError) -> None:
    raise error


async def _dag_fault(dag_id: str, services: Services) -> ConvergenceError | None:
    """Why Airflow would not run the pipeline just now."""
    try:
        return await services.not_ready(dag_id)
    except ConvergenceError as error:
        return error


def _new_run(trigger: Trigger, days: tuple[date, ...], params: Mapping[str, Any]) -> OrgRun:
    dag_id = trigger.pipeline.dag_id
    # The instant keeps a later, equal trigger apart; within the minute there is only this one.
    told = f"{trigger.org_slug}|{trigger.context.request_id}|{trigger.now.isoformat()}"
    stamp = f"{trigger.now:%Y%m%dT%H%M%S}"
    dag_run_id = f"api__{stamp}__{hashlib.sha256(told.encode()).hexdigest()[:16]}"
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
    """Record a run that had nothing to do: it costs no quota and Airflow never hears of it."""
    org_runs.insert_run(conn, run)
    org_runs.refund_run(conn, run.run_id)
    move_run(conn, run.run_id, RunStatus.RUNNING, now=run.created_at)
    move_run(conn, run.run_id, RunStatus.SUCCESS, now=run.created_at)
    return replace(run, status=RunStatus.SUCCESS)


def _accepted(
    trigger: Trigger,
    run: OrgRun,
    *,
    message: str | None = None,
    told_with: Write | None = None,
) -> Answer:
    body = RunAccepted(
        run_id=run.run_id,
        pipeline_id=record_name(run),
        pipeline=trigger.pipeline.url_path,
        status=run.status.value,
        status_url=f"{trigger.runs_url}/{run.run_id}",
        days=sorted(run.days),
        message=message,
    )
    told = body.model_dump(mode="json", exclude_none=True)
    return Answer(202, told, told_with=told_with)
