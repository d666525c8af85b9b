"""The organization's queue: runs that start when the plan has a free slot."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Query, Request
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from convergence.api.http.context import context_of
from convergence.api.http.idempotency import Answer
from convergence.api.http.responses import actor, idempotency_key, respond
from convergence.api.http.routing import guarded_router
from convergence.api.http.scopes import Scope, WhenSuspended, needs
from convergence.api.http.services import Services, services_of
from convergence.api.runs.models import RunRequest
from convergence.api.runs.triggers import Trigger, merged_params, read_trigger
from convergence.api.schedules import scheduler
from convergence.api.schedules.models import (
    QueueEntry,
    QueueList,
    QueueProcessed,
    QueueRequest,
)
from convergence.errors import NotAuthenticatedError, RequestInFlightError
from convergence.state.queued_run import QueuedRun, QueueStatus

router = guarded_router(prefix="/scheduler", tag="scheduler")


@router.post(
    "/trigger",
    summary="Queue a run",
    status_code=202,
    response_model=QueueEntry,
    response_description="The run starts now, or when the plan has a free slot.",
)
@needs(Scope.PIPELINES_RUN, when_suspended=WhenSuspended.REFUSED_BY_GATE)
async def trigger(request: Request, body: QueueRequest) -> JSONResponse:
    """Run a pipeline as soon as the plan's limits leave room; until then the run waits.

    The subscription and the integration must be in order now and when it starts.
    """
    services, org = services_of(request), _org(request)
    spec = await run_in_threadpool(services.catalog.find, body.pipeline)
    days = {"date": body.day, "start_date": body.start_date, "end_date": body.end_date}
    asked = read_trigger(
        org,
        spec,
        RunRequest.model_validate({**body.params, **days}),
        context=context_of(request.scope),
        by=actor(request),
        runs_url="",
        now=datetime.now(UTC),
    )
    provider = services.table_id(spec.provider)

    async def work() -> Answer:
        await run_in_threadpool(
            services.gate.require_eligible, org, provider=provider, now=asked.now
        )
        # The org's own settings join them when the run starts.
        await run_in_threadpool(_check_params, asked, services)
        entry = QueuedRun(
            org_slug=org,
            pipeline_id=spec.pipeline_id,
            dag_id=spec.dag_id,
            provider=provider,
            days=asked.days or (),
            params=asked.params,
            priority=body.priority,
            requested_by=asked.context.caller.key_id,
            request_id=asked.context.request_id,
            enqueued_at=asked.now,
        )
        await run_in_threadpool(scheduler.enqueue, services, entry, by=asked.by)
        # Where another process is at the queue, the entry is its, or the next minute's.
        with suppress(RequestInFlightError):
            await scheduler.process(services, org, now=asked.now)
        found = await run_in_threadpool(_entries, services, org)
        told = next(one for one in found if one.queue_id == entry.queue_id)
        return Answer(202, told.model_dump(mode="json", exclude_none=True))

    told = {"call": "scheduler/trigger", "priority": body.priority, **asked.same}
    given = idempotency_key(request)
    return respond(await services.once.answer(org, work, given=given, request=told))


@router.get("/queue", summary="The queue", response_model_exclude_none=True)
@needs(Scope.PIPELINES_READ)
async def entries(
    request: Request,
    status: Annotated[list[QueueStatus] | None, Query(description="Only these.")] = None,
    limit: Annotated[int, Query(ge=1, le=200, description="At most so many.")] = 100,
) -> QueueList:
    """The organization's entries, newest first; what became of those that no longer wait, too."""
    services, org = services_of(request), _org(request)
    found = await run_in_threadpool(_entries, services, org, status or (), limit)
    return QueueList(entries=found)


@router.post("/queue/process", summary="Start what can start", response_model=QueueProcessed)
@needs(Scope.PIPELINES_RUN)
async def process(request: Request) -> JSONResponse:
    """Start the organization's entries for which the plan has a free slot.

    It happens by itself every minute; this does it now.
    """
    services, org = services_of(request), _org(request)

    async def work() -> Answer:
        done = await scheduler.process(services, org, now=datetime.now(UTC))
        waiting = await run_in_threadpool(_entries, services, org, (QueueStatus.QUEUED,))
        told = QueueProcessed(
            started=done.started, waiting=done.waiting, failed=done.failed, entries=waiting
        )
        return Answer(200, told.model_dump(mode="json", exclude_none=True))

    asked, given = {"call": "queue/process"}, idempotency_key(request)
    return respond(await services.once.answer(org, work, given=given, request=asked))


def _entries(
    services: Services,
    org: str,
    statuses: tuple[QueueStatus, ...] | list[QueueStatus] = (),
    limit: int = 200,
) -> list[QueueEntry]:
    found = scheduler.entries(services, org, statuses=statuses, limit=limit)
    return [_told(entry) for entry in found]


def _told(entry: QueuedRun) -> QueueEntry:
    return QueueEntry(**{name: getattr(entry, name) for name in QueueEntry.model_fields})


def _org(request: Request) -> str:
    """The key's org; where authentication is off there is none to be told."""
    org = context_of(request.scope).caller.org_slug
    if org is None:
        raise NotAuthenticatedError("A key is needed, and this is none.")
    return org


def _check_params(asked: Trigger, services: Services) -> None:
    with services.store.read() as conn:
        merged_params(conn, asked)
