"""What an organization's usage costs."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Query, Request
from fastapi.responses import JSONResponse, Response

from convergence.api.costs import CostAnswer, CostFilter, as_csv
from convergence.api.costs import costs as read
from convergence.api.days import Day
from convergence.api.routing import guarded_router
from convergence.api.scopes import Scope, needs
from convergence.api.services import services_of
from convergence.providers.registry import Basis

router = guarded_router(prefix="/costs", tag="costs")

_Name = Annotated[str | None, Query(min_length=1, max_length=200)]


@router.get(
    "/{org}",
    summary="Costs by day, provider, service, model or project",
    response_model=CostAnswer,
    responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}}},
)
@needs(Scope.COSTS_READ)
async def costs(
    request: Request,
    *,
    org: str,
    start_date: Annotated[Day, Query(description="First UTC day.", examples=["2026-11-17"])],
    end_date: Annotated[Day, Query(description="Last UTC day.", examples=["2026-11-19"])],
    group_by: Annotated[
        str,
        Query(max_length=100, description="Of day, provider, service, model, project; by commas."),
    ] = "day",
    basis: Annotated[
        Basis | None,
        Query(description="`computed` from usage and prices or `billed`; else each provider's."),
    ] = None,
    provider: _Name = None,
    service: _Name = None,
    model: _Name = None,
    project: _Name = None,
    format: Annotated[Literal["json", "csv"], Query()] = "json",  # noqa: A002 - its public name
) -> Response:
    """Effective cost, beside cost at list prices and as billed.

    Every row and total is of one basis and one currency and names both. Usage without a price is
    in no sum; `unpriced` lists it with its reason.
    """
    only = CostFilter(basis=basis, provider=provider, service=service, model=model, project=project)
    answer = await read(
        services_of(request), org, first=start_date, last=end_date, group_by=group_by, only=only
    )
    if format == "csv":
        return Response(as_csv(answer), media_type="text/csv; charset=utf-8")
    return JSONResponse(answer.model_dump(mode="json"))
