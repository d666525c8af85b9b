"""The queue and an organization's own schedules, as its key may use them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import anyio.from_thread
from starlette.concurrency import run_in_threadpool

from convergence.api.http.problems import InvalidFieldsError, fault
from convergence.api.http.services import Services
from convergence.api.schedules.models import PipelineConfigRequest
from convergence.errors import LimitError, NotFoundError, PipelineUnavailableError
from convergence.pipelines.files.spec import PipelineSpec
from convergence.processors import run_conf
from convergence.runs.dispatch import Dispatcher, DispatchResult, compute_next_time
from convergence.state import pipeline_configs, queue
from convergence.state.pipeline_configs import PipelineConfig
from convergence.state.queued_run import QueuedRun
from convergence.tenants import audit
from convergence.tenants.audit import Actor, AuditedAction, AuditResult

MOST_WAITING = 100
_DAY_PARAMS = ("date", "start_date", "end_date")


class ClientOrchestrator:
    """Airflow as a thread of the API reaches it: through the pooled client of its event loop."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def check_readiness(self, dag_id: str) -> PipelineUnavailableError | None:
        """Why a run of the DAG would not start now; None when it would."""
        return anyio.from_thread.run(self._services.not_ready, dag_id)

    def trigger(self, dag_id: str, *, dag_run_id: str, conf: Mapping[str, Any]) -> None:
        """Start a run, unless the one of this id exists."""
        start = partial(self._services.airflow.trigger, dag_id, dag_run_id=dag_run_id, conf=conf)
        try:
            anyio.from_thread.run(start)
        except PipelineUnavailableError:
            self._services.forget_dag(dag_id)
            raise


async def process(services: Services, org_slug: str, *, now: datetime) -> DispatchResult:
    """Start what of the org's entries has a free slot.

    Raises:
        RequestInFlightError: the queue is being processed at this moment.
    """
    dispatcher = Dispatcher(services.store, services.gate, ClientOrchestrator(services))
    return await run_in_threadpool(dispatcher.dispatch_runs, now=now, org_slug=org_slug)


def enqueue(services: Services, entry: QueuedRun, *, by: Actor) -> None:
    """Put a run into the queue, with its audit entry.

    Raises:
        LimitError: too many of the org's runs wait already.
    """
    with services.store.begin() as conn:
        waiting = queue.count_waiting(conn, entry.org_slug)
        if waiting >= MOST_WAITING:
            raise LimitError(
                f"{waiting} runs wait already.",
                limit="queued_runs",
                maximum=MOST_WAITING,
                used=waiting,
                retry_after=60,
            )
        queue.add_entry(conn, entry)
        act = AuditedAction(entry.org_slug, by, "queue.add", entry.queue_id)
        audit.append_entry(conn, act, result=AuditResult.SUCCEEDED, now=entry.enqueued_at)


def entries(services: Services, org_slug: str, **asked: Any) -> list[QueuedRun]:
    """The org's entries, newest first."""
    with services.store.read() as conn:
        return queue.list_for_org(conn, org_slug, **asked)


def find_pipeline(services: Services, name: str) -> PipelineSpec:
    """The pipeline of this id or at this address that an org can run.

    Raises:
        NotFoundError: there is none.
        ConfigurationError: the file at the address has faults.
    """
    if "/" in name:
        return services.catalog.find(name)
    for spec in services.catalog.runnable():
        if spec.pipeline_id == name:
            return spec
    raise NotFoundError("no such pipeline", pipeline_id=name[:100])


def config_of(services: Services, org_slug: str, spec: PipelineSpec) -> PipelineConfig | None:
    """The org's configuration of a pipeline, if it has one."""
    with services.store.read() as conn:
        return pipeline_configs.get_config(conn, org_slug, spec.pipeline_id)


def configure(
    services: Services,
    org_slug: str,
    spec: PipelineSpec,
    *,
    asked: PipelineConfigRequest,
    by: Actor,
    now: datetime,
) -> PipelineConfig:
    """Set an org's configuration of a pipeline, with its audit entry.

    Raises:
        RequestError: unknown zone, or params that the pipeline does not take.
    """
    _check_zone(asked.timezone)
    params = _checked_params(spec, asked.params)
    upcoming = None
    if asked.enabled and asked.schedule is not None:
        upcoming = compute_next_time(asked.schedule, asked.timezone, after=now)
    config = PipelineConfig(
        org_slug=org_slug,
        pipeline_id=spec.pipeline_id,
        dag_id=spec.dag_id,
        provider=services.table_id(spec.provider),
        enabled=asked.enabled,
        schedule=asked.schedule,
        timezone=asked.timezone,
        params=params,
        next_due_at=upcoming,
        updated_at=now,
        updated_by=by.id,
    )
    with services.store.begin() as conn:
        config = pipeline_configs.put_config(conn, config)
        act = AuditedAction(org_slug, by, "pipeline.configure", spec.pipeline_id)
        details = {"enabled": asked.enabled, "schedule": asked.schedule}
        audit.append_entry(conn, act, result=AuditResult.SUCCEEDED, now=now, details=details)
    return config


def _checked_params(spec: PipelineSpec, given: Mapping[str, Any]) -> dict[str, Any]:
    """What is set, without the defaults; days by name have no place among what always holds."""
    if named := [name for name in _DAY_PARAMS if name in given]:
        told = "days are asked for run by run; a schedule does those that are due"
        raise InvalidFieldsError([fault(f"body.params.{name}", told) for name in named])
    return run_conf.check_partial_params(given, pipeline=spec.build_info())


def _check_zone(name: str | None) -> None:
    try:
        ZoneInfo(name or "UTC")
    except (ZoneInfoNotFoundError, ValueError, OSError):
        told = "is no IANA time zone, such as Europe/Berlin"
        raise InvalidFieldsError([fault("body.timezone", told)]) from None
