"""Routes of an organization's queue: runs that start when the plan has a free slot."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Query
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from convergence.api.http.dependencies import (
    ActorDep,
    ContextDep,
    IdempotentCallDep,
    KeyOrgDep,
    ServicesDep,
)
from convergence.api.http.responses import build_result, respond
from convergence.api.http.routing import guarded_router
from convergence.api.http.scopes import Scope, WhenSuspended, require_scope
from convergence.api.http.services import ApiServices
from convergence.api.runs.models import RunRequest
from convergence.api.runs.triggers import TriggerRequest, merge_params, read_trigger
from convergence.api.schedules.dispatching import process_queue
from convergence.api.schedules.models import (
    QueueEntry,
    QueueList,
    QueueProcessed,
    QueueRequest,
)
from convergence.api.schedules.queueing import enqueue_entry, list_entries
from convergence.errors import RequestInFlightError
from convergence.state.queueing.queued_run import QueuedRun, QueueStatus

router = guarded_router(prefix="/scheduler", tag="scheduler")


@router.post(
    "/trigger",
    operation_id="enqueue_run",
    summary="Queue a run",
    status_code=202,
    response_model=QueueEntry,
    response_description="The run starts now, or when the plan has a free slot.",
)
@require_scope(Scope.PIPELINES_RUN, when_suspended=WhenSuspended.DENIED_BY_GATE)
async def enqueue_run(
    services: ServicesDep,
    context: ContextDep,
    actor: ActorDep,
    call: IdempotentCallDep,
    *,
    org: KeyOrgDep,
    body: QueueRequest,
) -> JSONResponse:
    """Run a pipeline as soon as the plan has a free slot; until then the run waits.

    The subscription and the integration are checked now and again when the run starts.
    """
    spec = await run_in_threadpool(services.catalog.find_pipeline, body.pipeline)
    days = {"date": body.day, "start_date": body.start_date, "end_date": body.end_date}
    trigger = read_trigger(
        org,
        spec,
        RunRequest.model_validate({**body.params, **days}),
        context=context,
        by=actor,
        runs_url="",
        now=datetime.now(UTC),
    )
    request = {"call": "scheduler/trigger", "priority": body.priority, **trigger.same}
    async with call.claim_async(request) as claim:
        if claim.is_new:
            entry = await run_in_threadpool(
                _enqueue_trigger, services, trigger, priority=body.priority
            )
            # Another process may be processing the queue: it or the next minute starts the entry.
            with suppress(RequestInFlightError):
                await process_queue(services, org, now=trigger.now)
            entries = await run_in_threadpool(list_entries, services, org)
            queued = next(each for each in entries if each.queue_id == entry.queue_id)
            claim.complete(build_result(queued, status=202))
    return respond(claim.result)


@router.get(
    "/queue", operation_id="list_queue", summary="List the queue", response_model_exclude_none=True
)
@require_scope(Scope.PIPELINES_READ)
def list_queue(
    services: ServicesDep,
    org: KeyOrgDep,
    status: Annotated[
        list[QueueStatus] | None, Query(description="Only entries of these states.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=200, description="Maximum number of entries.")] = 100,
) -> QueueList:
    """Return the organization's entries, newest first, including those that have left the queue."""
    return QueueList(entries=list_entries(services, org, statuses=status or (), limit=limit))


@router.post(
    "/queue/process",
    operation_id="process_queue",
    summary="Start waiting runs",
    response_model=QueueProcessed,
)
@require_scope(Scope.PIPELINES_RUN)
async def start_waiting_runs(
    services: ServicesDep, call: IdempotentCallDep, org: KeyOrgDep
) -> JSONResponse:
    """Start the organization's entries for which the plan has a free slot.

    This also happens every minute without a request.
    """
    async with call.claim_async({"call": "queue/process"}) as claim:
        if claim.is_new:
            dispatched = await process_queue(services, org, now=datetime.now(UTC))
            waiting = await run_in_threadpool(
                list_entries, services, org, statuses=(QueueStatus.QUEUED,)
            )
            processed = QueueProcessed(
                started=dispatched.started,
                waiting=dispatched.waiting,
                failed=dispatched.failed,
                entries=waiting,
            )
            claim.complete(build_result(processed))
    return respond(claim.result)


def _enqueue_trigger(services: ApiServices, trigger: TriggerRequest, *, priority: int) -> QueuedRun:
    spec = trigger.pipeline
    provider = services.get_table_id(spec.provider)
    services.gate.require_eligible(trigger.org_slug, provider=provider, now=trigger.now)
    # Only checked here: the org's settings are merged again when the run starts.
    with services.store.read() as conn:
        merge_params(conn, trigger)
    entry = QueuedRun(
        org_slug=trigger.org_slug,
        pipeline_id=spec.pipeline_id,
        dag_id=spec.dag_id,
        provider=provider,
        days=trigger.days or (),
        params=trigger.params,
        priority=priority,
        requested_by=trigger.context.caller.key_id,
        request_id=trigger.context.request_id,
        enqueued_at=trigger.now,
    )
    enqueue_entry(services, entry, by=trigger.by)
    return entry
