"""The way of a trigger through the gate: subscription, once, integration, days, quota, Airflow.

Key, org, scope and rate were settled before, in `guard`. Whatever is admitted here either reaches
Airflow or ends with a reason; nothing is left in between.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from starlette.concurrency import run_in_threadpool

from convergence.api.context import RequestContext
from convergence.api.due import due
from convergence.api.handover import admit, hand_over
from convergence.api.once import SAME_TRIGGER, Answer
from convergence.api.run_models import RunAccepted, RunRequest
from convergence.api.services import Services
from convergence.errors import PipelineDisabledError, PipelineUnavailableError
from convergence.pipelines.asked import DATE, END, START, asked_days
from convergence.pipelines.spec import PipelineSpec
from convergence.processors import conf
from convergence.runs.records import move, record_name
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
    days = asked_days(asked, today=now.astimezone(UTC).date())
    facts = pipeline.facts()
    values = {**(request.model_extra or {})}
    values |= {name: day for name, day in asked.items() if name in facts.params["properties"]}
    given = conf.check_part(values, pipeline=facts)
    return Trigger(org_slug, pipeline, days, given, context, by, runs_url, now)


def merged_params(trigger: Trigger, *, services: Services) -> dict[str, Any]:
    """The run's params: what was asked for, else the org's own settings, else the defaults.

    Raises:
        RequestError: a required param is missing.
        PipelineDisabledError: the org has switched the pipeline off.
        PipelineUnavailableError: its settings do not fit the pipeline any more.
    """
    with services.store.read() as conn:
        config = pipeline_configs.get(conn, trigger.org_slug, trigger.pipeline.pipeline_id)
    if config is not None and not config.enabled:
        raise PipelineDisabledError(
            "The organization has switched this pipeline off.", reason="disabled"
        )
    settings = config.params if config else {}
    return _without_days(conf.merged(trigger.given, settings, pipeline=trigger.pipeline.facts()))


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
    await run_in_threadpool(services.gate.require, trigger.org_slug, provider=None, now=trigger.now)

    async def work() -> Answer:
        return await _admit_and_hand_over(trigger, services)

    if given_key is not None:
        return await services.once.answer(
            trigger.org_slug, work, given=given_key, request=trigger.same
        )
    return await services.once.answer_same(
        trigger.org_slug, work, request=trigger.same, ttl=SAME_TRIGGER
    )


async def _admit_and_hand_over(trigger: Trigger, services: Services) -> Answer:
    params = await run_in_threadpool(merged_params, trigger, services=services)
    await _check_dag(trigger.pipeline.dag_id, services)
    standing = await run_in_threadpool(
        services.gate.require,
        trigger.org_slug,
        provider=services.table_id(trigger.pipeline.provider),
        now=trigger.now,
    )
    days = trigger.days
    if days is None:
        days = await run_in_threadpool(
            due, trigger.pipeline, standing, services=services, now=trigger.now
        )
        if not days and trigger.pipeline.tables:
            return await run_in_threadpool(_record_nothing_due, trigger, params, services)
    run = _new_run(trigger, days, params)
    await run_in_threadpool(
        admit, run, standing=standing, services=services, by=trigger.by, now=trigger.now
    )
    await hand_over(run, services=services)
    return _accepted(trigger, run, status=RunStatus.QUEUED)


async def _check_dag(dag_id: str, services: Services) -> None:
    state = await services.dag_state(dag_id)
    if state.is_paused:
        raise PipelineUnavailableError("The pipeline is paused by its operator.", reason="paused")
    if state.is_stale or state.has_import_errors:
        raise PipelineUnavailableError(
            "The pipeline is not loaded just now; its file may be broken or new.", reason="stale"
        )


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


def _record_nothing_due(trigger: Trigger, params: Mapping[str, Any], services: Services) -> Answer:
    """Record a run that had nothing to do: it costs no quota and Airflow never hears of it."""
    run = _new_run(trigger, (), params)
    with services.store.begin() as conn:
        org_runs.insert(conn, run)
        org_runs.refund(conn, run.run_id)
        move(conn, run.run_id, RunStatus.RUNNING, now=trigger.now)
        move(conn, run.run_id, RunStatus.SUCCESS, now=trigger.now)
    return _accepted(trigger, run, status=RunStatus.SUCCESS, message=NOTHING_DUE)


def _accepted(
    trigger: Trigger, run: OrgRun, *, status: RunStatus, message: str | None = None
) -> Answer:
    body = RunAccepted(
        run_id=run.run_id,
        pipeline_id=record_name(run),
        pipeline=trigger.pipeline.url_path,
        status=status.value,
        status_url=f"{trigger.runs_url}/{run.run_id}",
        days=sorted(run.days),
        message=message,
    )
    return Answer(202, body.model_dump(mode="json", exclude_none=True))
