"""What an organization's usage cost."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from fastapi import Query, Request
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool

from convergence.api.costs.models import CostAnswer
from convergence.api.costs.reading import CostQuestion, Grouping, as_csv, costs
from convergence.api.http.days import Day
from convergence.api.http.problems import InvalidFieldsError, fault
from convergence.api.http.routing import guarded_router
from convergence.api.http.scopes import Scope, needs
from convergence.api.http.services import services_of
from convergence.pipelines.running.requested_days import parse_requested_days

router = guarded_router(prefix="/costs", tag="costs")

USUAL_DAYS = 30


@router.get(
    "/{org}",
    summary="Cost by day, provider, service, model or project",
    response_model=CostAnswer,
    responses={200: {"content": {"text/csv": {}}}},
)
@needs(Scope.COSTS_READ)
async def cost(
    request: Request,
    *,
    org: str,
    start_date: Annotated[Day | None, Query(description="First UTC day.")] = None,
    end_date: Annotated[Day | None, Query(description="Last UTC day, included.")] = None,
    group_by: Annotated[
        str, Query(max_length=60, description="Of day, provider, service, model, project; commas.")
    ] = "day",
    basis: Annotated[
        Literal["computed", "billed"] | None,
        Query(description="Computed from usage and prices, or billed by the provider."),
    ] = None,
    currency: Annotated[str | None, Query(pattern="^[A-Z]{3}$", description="ISO 4217.")] = None,
    form: Annotated[Literal["json", "csv"], Query(alias="format")] = "json",
) -> Response:
    """Cost of a range of days, the last 30 complete ones unless told otherwise.

    Nothing is summed across bases or currencies: every row and every total names both. Usage
    without a price is listed beside, with the reason.
    """
    today = datetime.now(UTC).date()
    ends = {"start_date": start_date, "end_date": end_date}
    named = {name: day.isoformat() for name, day in ends.items() if day is not None}
    days = parse_requested_days(named, today=today)
    question = CostQuestion(
        org_slug=org,
        start=days[-1] if days else today - timedelta(days=USUAL_DAYS),
        end=days[0] if days else today - timedelta(days=1),
        group_by=_groupings(group_by),
        basis=basis,
        currency=currency,
    )
    answer = await run_in_threadpool(costs, question, services=services_of(request))
    if form == "csv":
        return Response(as_csv(answer), media_type="text/csv; charset=utf-8")
    return JSONResponse(answer.model_dump(mode="json", exclude_unset=True))


def _groupings(text: str) -> tuple[Grouping, ...]:
    known = [each.value for each in Grouping]
    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    faults = [
        fault("query.group_by", f"{name} is nothing to group by", given=name, accepted=known)
        for name in names
        if name not in known
    ]
    if faults:
        raise InvalidFieldsError(faults)
    return tuple(Grouping(name) for name in names)
