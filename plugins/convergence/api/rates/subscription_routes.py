"""What an organization pays a provider per seat: list prices of plans, and plans of its own."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import Annotated

from fastapi import Query, Request
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from convergence.api.http.days import Day
from convergence.api.http.idempotency import Answer
from convergence.api.http.responses import actor, idempotency_key, respond
from convergence.api.http.routing import guarded_router
from convergence.api.http.scopes import Scope, needs
from convergence.api.http.services import services_of
from convergence.api.rates.subscription_models import (
    NamedPlanRequest,
    PlanRequest,
    SubscriptionList,
)
from convergence.api.rates.subscriptions import Subscriptions
from convergence.api.rates.term_models import Name, OverridesEnded

router = guarded_router(prefix="/integrations/{org}/{provider}/subscriptions", tag="integrations")


def _plans(request: Request, org: str, provider: str) -> Subscriptions:
    return Subscriptions(services_of(request), org_slug=org, provider=provider)


@router.get("", summary="Plans")
@needs(Scope.INTEGRATIONS_READ)
async def subscriptions(
    request: Request,
    *,
    org: str,
    provider: str,
    plan_name: Annotated[str | None, Query(max_length=200, description="Only this plan's.")] = None,
    day: Annotated[
        Day | None, Query(alias="date", description="Those in force on this UTC day only.")
    ] = None,
) -> SubscriptionList:
    """List prices without seats, and the organization's own plans; an empty list without plans."""
    table = _plans(request, org, provider)
    return await run_in_threadpool(partial(table.rows, plan_name=plan_name, day=day))


@router.post("", summary="Set a plan's seats", response_model=SubscriptionList)
@needs(Scope.INTEGRATIONS_WRITE)
async def post_plan(
    request: Request, org: str, provider: str, body: NamedPlanRequest
) -> JSONResponse:
    """Say how many seats of a plan the organization pays for from a day on, and their price.

    What was said before ends on that day and is kept; the next snapshot of the month shows both.
    """
    table = _plans(request, org, provider)

    async def work() -> Answer:
        put = partial(table.put, body.plan_name, body, by=actor(request), now=datetime.now(UTC))
        found = await run_in_threadpool(put)
        return Answer(200, found.model_dump(mode="json"))

    asked = {"call": "subscriptions", "provider": provider, "body": body.model_dump(mode="json")}
    given = idempotency_key(request)
    return respond(await services_of(request).once.answer(org, work, given=given, request=asked))


@router.post("/reset", summary="End every plan", response_model=OverridesEnded)
@needs(Scope.INTEGRATIONS_WRITE)
async def reset_plans(request: Request, org: str, provider: str) -> JSONResponse:
    """End every plan of the organization's own today; its history is kept."""

    async def work() -> Answer:
        ended = await _end(request, org, provider, plan_name=None, day=None)
        return Answer(200, ended.model_dump(mode="json"))

    told, given = {"call": "subscriptions/reset", "provider": provider}, idempotency_key(request)
    return respond(await services_of(request).once.answer(org, work, given=given, request=told))


@router.put("/{plan_name:path}", summary="Set the seats of the plan in the path")
@needs(Scope.INTEGRATIONS_WRITE)
async def put_plan(
    request: Request, org: str, provider: str, plan_name: Name, body: PlanRequest
) -> SubscriptionList:
    """The same for the plan in the path; again with the same first day, it corrects the plan."""
    table = _plans(request, org, provider)
    put = partial(table.put, plan_name, body, by=actor(request), now=datetime.now(UTC))
    return await run_in_threadpool(put)


@router.delete("/{plan_name:path}", summary="End a plan")
@needs(Scope.INTEGRATIONS_WRITE)
async def delete_plan(
    request: Request,
    *,
    org: str,
    provider: str,
    plan_name: Name,
    effective_to: Annotated[
        Day | None, Query(description="First UTC day without it; today when not given.")
    ] = None,
) -> OverridesEnded:
    """Pay for no more seats of a plan; what was in force before stays as history."""
    return await _end(request, org, provider, plan_name=plan_name, day=effective_to)


async def _end(
    request: Request, org: str, provider: str, *, plan_name: str | None, day: Day | None
) -> OverridesEnded:
    table, now = _plans(request, org, provider), datetime.now(UTC)
    last = day or now.date()
    end = partial(table.end, plan_name, day=last, by=actor(request), now=now)
    ended = await run_in_threadpool(end)
    return OverridesEnded(org_slug=org, provider=table.provider.id, ended=ended, effective_to=last)
