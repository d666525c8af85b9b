"""Routes of an organization's rates: one factory, with a specification for prices and for plans."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from convergence.api.http.days import Day
from convergence.api.http.dependencies import ActorDep, IdempotentCallDep, ServicesDep
from convergence.api.http.models import Line
from convergence.api.http.responses import build_result, respond
from convergence.api.http.routing import guarded_router
from convergence.api.http.scopes import Scope, require_scope
from convergence.api.rates.models import (
    ModelPriceRequest,
    NamedPlanRequest,
    PlanList,
    PlanRequest,
    PriceList,
    PriceRequest,
    RatesEnded,
)
from convergence.api.rates.prices import PRICES
from convergence.api.rates.subscriptions import PLANS
from convergence.api.rates.tables import OrgRates, RateKind

Handler = Callable[..., Any]


@dataclass(frozen=True)
class RouteText:
    """The summary and the description of a route."""

    summary: str
    description: str


@dataclass(frozen=True)
class RateTexts:
    """The texts of each route."""

    list: RouteText
    post: RouteText
    reset: RouteText
    put: RouteText
    end: RouteText


@dataclass(frozen=True)
class RateRoutes:
    """The specification of a kind's routes.

    Attributes:
        kind: the rates.
        segment: last segment of the path.
        singular: of a rate, in operation ids.
        plural: of rates, in operation ids.
        name_field: field, query parameter and path parameter with the name of a rate.
        name_filter: description of the query parameter.
        named_request: body with the name in it.
        request: body without the name.
        response: list of rates.
        texts: summaries and descriptions.
    """

    kind: RateKind
    segment: str
    singular: str
    plural: str
    name_field: str
    name_filter: str
    named_request: type[BaseModel]
    request: type[BaseModel]
    response: type[BaseModel]
    texts: RateTexts


def build_rate_router(spec: RateRoutes) -> APIRouter:
    """Build the five routes of a kind of rates."""
    prefix = f"/integrations/{{org}}/{{provider}}/{spec.segment}"
    router = guarded_router(prefix=prefix, tag="integrations")
    # `reset` before the routes whose path ends with a name.
    _add_list(router, spec)
    _add_post(router, spec)
    _add_reset(router, spec)
    _add_put(router, spec)
    _add_end(router, spec)
    return router


def _add_list(router: APIRouter, spec: RateRoutes) -> None:
    def list_rates(
        services: ServicesDep,
        *,
        org: str,
        provider: str,
        name: str | None = None,
        day: date | None = None,
    ) -> BaseModel:
        rates = OrgRates(services, spec.kind, org_slug=org, provider=provider)
        return rates.list_rates(name=name, day=day)

    name_query = Query(alias=spec.name_field, max_length=200, description=spec.name_filter)
    day_query = Query(alias="date", description="Only rates of this UTC day.")
    _annotate(
        list_rates,
        name=Annotated[str | None, name_query],
        day=Annotated[Day | None, day_query],
    )
    _add_route(
        router,
        "GET",
        "",
        list_rates,
        operation_id=f"list_{spec.plural}",
        texts=spec.texts.list,
        response=spec.response,
    )


def _add_post(router: APIRouter, spec: RateRoutes) -> None:
    def set_rate(
        services: ServicesDep,
        actor: ActorDep,
        call: IdempotentCallDep,
        *,
        org: str,
        provider: str,
        body: BaseModel,
    ) -> JSONResponse:
        rates = OrgRates(services, spec.kind, org_slug=org, provider=provider)
        document = body.model_dump(mode="json")
        with call.claim({"call": spec.segment, "provider": provider, "body": document}) as claim:
            if claim.is_new:
                name = getattr(body, spec.name_field)
                listed = rates.put_rate(name, body, by=actor, now=datetime.now(UTC))
                claim.complete(build_result(listed, exclude_none=False))
        return respond(claim.result)

    _annotate(set_rate, body=spec.named_request)
    _add_route(
        router,
        "POST",
        "",
        set_rate,
        operation_id=f"set_{spec.singular}",
        texts=spec.texts.post,
        response=spec.response,
    )


def _add_reset(router: APIRouter, spec: RateRoutes) -> None:
    def reset_rates(
        services: ServicesDep, actor: ActorDep, call: IdempotentCallDep, org: str, provider: str
    ) -> JSONResponse:
        with call.claim({"call": f"{spec.segment}/reset", "provider": provider}) as claim:
            if claim.is_new:
                rates = OrgRates(services, spec.kind, org_slug=org, provider=provider)
                ended = _end_rates(rates, org, None, day=None, actor=actor)
                claim.complete(build_result(ended, exclude_none=False))
        return respond(claim.result)

    _add_route(
        router,
        "POST",
        "/reset",
        reset_rates,
        operation_id=f"reset_{spec.plural}",
        texts=spec.texts.reset,
        response=RatesEnded,
    )


def _add_put(router: APIRouter, spec: RateRoutes) -> None:
    def put_rate(
        services: ServicesDep,
        actor: ActorDep,
        *,
        org: str,
        provider: str,
        name: str,
        body: BaseModel,
    ) -> BaseModel:
        rates = OrgRates(services, spec.kind, org_slug=org, provider=provider)
        return rates.put_rate(name, body, by=actor, now=datetime.now(UTC))

    _annotate(put_rate, name=Annotated[Line, Path(alias=spec.name_field)], body=spec.request)
    _add_route(
        router,
        "PUT",
        f"/{{{spec.name_field}:path}}",
        put_rate,
        operation_id=f"put_{spec.singular}",
        texts=spec.texts.put,
        response=spec.response,
    )


def _add_end(router: APIRouter, spec: RateRoutes) -> None:
    def end_rate(
        services: ServicesDep,
        actor: ActorDep,
        *,
        org: str,
        provider: str,
        name: str,
        effective_to: Annotated[
            Day | None, Query(description="First UTC day without the rate; today by default.")
        ] = None,
    ) -> RatesEnded:
        rates = OrgRates(services, spec.kind, org_slug=org, provider=provider)
        return _end_rates(rates, org, name, day=effective_to, actor=actor)

    _annotate(end_rate, name=Annotated[Line, Path(alias=spec.name_field)])
    _add_route(
        router,
        "DELETE",
        f"/{{{spec.name_field}:path}}",
        end_rate,
        operation_id=f"end_{spec.singular}",
        texts=spec.texts.end,
        response=RatesEnded,
    )


def _end_rates(
    rates: OrgRates, org: str, name: str | None, *, day: date | None, actor: ActorDep
) -> RatesEnded:
    now = datetime.now(UTC)
    last = day or now.date()
    ended = rates.end_rates(name, day=last, by=actor, now=now)
    return RatesEnded(org_slug=org, provider=rates.provider.id, ended=ended, effective_to=last)


def _annotate(handler: Handler, **types: object) -> None:
    """Set annotations that depend on the specification: FastAPI reads them at the registration."""
    handler.__annotations__.update(types)


def _add_route(
    router: APIRouter,
    method: str,
    path: str,
    handler: Handler,
    *,
    operation_id: str,
    texts: RouteText,
    response: type[BaseModel],
) -> None:
    reads = method == "GET"
    scope = Scope.INTEGRATIONS_READ if reads else Scope.INTEGRATIONS_WRITE
    router.add_api_route(
        path,
        require_scope(scope)(handler),
        methods=[method],
        operation_id=operation_id,
        summary=texts.summary,
        description=texts.description,
        response_model=response,
    )


price_router = build_rate_router(
    RateRoutes(
        kind=PRICES,
        segment="pricing",
        singular="price",
        plural="prices",
        name_field="model_id",
        name_filter="Only prices of this model.",
        named_request=ModelPriceRequest,
        request=PriceRequest,
        response=PriceList,
        texts=RateTexts(
            list=RouteText(
                "List prices",
                "Return default and organization-specific prices; of two that apply on a day, the "
                "organization-specific one comes first.",
            ),
            post=RouteText(
                "Set an organization-specific price",
                "Set an organization-specific rate for a model, effective from a date. The "
                "previous rate ends on that date and stays in the history; the next runs price "
                "the affected days again.",
            ),
            reset=RouteText(
                "Reset all prices to the defaults",
                "End every organization-specific rate today. The history stays.",
            ),
            put=RouteText(
                "Set the organization-specific price of a model",
                "Set the rate of the model in the path. A request with the same first day "
                "corrects the rate.",
            ),
            end=RouteText(
                "End the organization-specific price of a model",
                "Apply the default price again. Earlier rates stay in the history.",
            ),
        ),
    )
)
plan_router = build_rate_router(
    RateRoutes(
        kind=PLANS,
        segment="subscriptions",
        singular="plan",
        plural="plans",
        name_field="plan_name",
        name_filter="Only this plan.",
        named_request=NamedPlanRequest,
        request=PlanRequest,
        response=PlanList,
        texts=RateTexts(
            list=RouteText(
                "List plans",
                "Return list prices without seats and the organization's plans; an empty list for "
                "a provider without plans.",
            ),
            post=RouteText(
                "Set the seats of a plan",
                "Set the number and price of the organization's seats of a plan, effective from a "
                "date. The previous entry ends on that date and stays in the history; the next "
                "snapshot of the month contains both.",
            ),
            reset=RouteText(
                "End all plans",
                "End every plan of the organization today. The history stays.",
            ),
            put=RouteText(
                "Set the seats of the plan in the path",
                "Set the seats of the plan in the path. A request with the same first day "
                "corrects the plan.",
            ),
            end=RouteText(
                "End a plan",
                "End the organization's seats of a plan. Earlier entries stay in the history.",
            ),
        ),
    )
)
