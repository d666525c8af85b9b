"""What an organization pays a provider per model: defaults, and rates of its own."""

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
from convergence.api.rates.price_models import ModelRateRequest, PriceList, RateRequest
from convergence.api.rates.prices import Prices
from convergence.api.rates.term_models import Name, OverridesEnded

router = guarded_router(prefix="/integrations/{org}/{provider}/pricing", tag="integrations")


def _prices(request: Request, org: str, provider: str) -> Prices:
    return Prices(services_of(request), org_slug=org, provider=provider)


@router.get("", summary="Prices")
@needs(Scope.INTEGRATIONS_READ)
async def prices(
    request: Request,
    *,
    org: str,
    provider: str,
    model_id: Annotated[str | None, Query(max_length=200, description="Only this model's.")] = None,
    day: Annotated[
        Day | None, Query(alias="date", description="Those in force on this UTC day only.")
    ] = None,
) -> PriceList:
    """Default prices and the organization's own, which come first where both are in force."""
    table = _prices(request, org, provider)
    return await run_in_threadpool(partial(table.rows, model_id=model_id, day=day))


@router.post("", summary="Set an own rate", response_model=PriceList)
@needs(Scope.INTEGRATIONS_WRITE)
async def post_price(
    request: Request, org: str, provider: str, body: ModelRateRequest
) -> JSONResponse:
    """Price a model by the organization's own rate from a day on.

    The rate before it ends on that day and is kept; days are priced anew by the next runs.
    """
    table = _prices(request, org, provider)

    async def work() -> Answer:
        put = partial(table.put, body.model_id, body, by=actor(request), now=datetime.now(UTC))
        found = await run_in_threadpool(put)
        return Answer(200, found.model_dump(mode="json"))

    asked = {"call": "pricing", "provider": provider, "body": body.model_dump(mode="json")}
    given = idempotency_key(request)
    return respond(await services_of(request).once.answer(org, work, given=given, request=asked))


@router.post("/reset", summary="Return to the default prices", response_model=OverridesEnded)
@needs(Scope.INTEGRATIONS_WRITE)
async def reset_prices(request: Request, org: str, provider: str) -> JSONResponse:
    """End every rate of the organization's own today; its history is kept."""

    async def work() -> Answer:
        ended = await _end(request, org, provider, model_id=None, day=None)
        return Answer(200, ended.model_dump(mode="json"))

    told, given = {"call": "pricing/reset", "provider": provider}, idempotency_key(request)
    return respond(await services_of(request).once.answer(org, work, given=given, request=told))


@router.put("/{model_id:path}", summary="Set a model's own rate")
@needs(Scope.INTEGRATIONS_WRITE)
async def put_price(
    request: Request, org: str, provider: str, model_id: Name, body: RateRequest
) -> PriceList:
    """The same for the model in the path; again with the same first day, it corrects the rate."""
    table = _prices(request, org, provider)
    put = partial(table.put, model_id, body, by=actor(request), now=datetime.now(UTC))
    return await run_in_threadpool(put)


@router.delete("/{model_id:path}", summary="End a model's own rate")
@needs(Scope.INTEGRATIONS_WRITE)
async def delete_price(
    request: Request,
    *,
    org: str,
    provider: str,
    model_id: Name,
    effective_to: Annotated[
        Day | None, Query(description="First UTC day without it; today when not given.")
    ] = None,
) -> OverridesEnded:
    """Let the default price apply again; what was in force before stays as history."""
    return await _end(request, org, provider, model_id=model_id, day=effective_to)


async def _end(
    request: Request, org: str, provider: str, *, model_id: str | None, day: Day | None
) -> OverridesEnded:
    table, now = _prices(request, org, provider), datetime.now(UTC)
    last = day or now.date()
    end = partial(table.end, model_id, day=last, by=actor(request), now=now)
    ended = await run_in_threadpool(end)
    return OverridesEnded(org_slug=org, provider=table.provider.id, ended=ended, effective_to=last)
