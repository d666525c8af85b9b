"""Route of an organization's cost."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from fastapi import Query
from fastapi.responses import JSONResponse, Response

from convergence.api.costs.models import CostResponse
from convergence.api.costs.reading import CostQuery, Grouping, format_csv, read_costs
from convergence.api.http.days import Day
from convergence.api.http.dependencies import ServicesDep
from convergence.api.http.problems import InvalidFieldsError, build_field_error
from convergence.api.http.routing import guarded_router
from convergence.api.http.scopes import Scope, require_scope
from convergence.pipelines.running.requested_days import parse_requested_days

router = guarded_router(prefix="/costs", tag="costs")

DEFAULT_DAYS = 30


@router.get(
    "/{org}",
    operation_id="get_costs",
    summary="Get cost by day, provider, service, model or project",
    response_model=CostResponse,
    responses={200: {"content": {"text/csv": {}}}},
)
@require_scope(Scope.COSTS_READ)
def get_costs(
    services: ServicesDep,
    *,
    org: str,
    start_date: Annotated[Day | None, Query(description="First UTC day.")] = None,
    end_date: Annotated[Day | None, Query(description="Last UTC day, included.")] = None,
    group_by: Annotated[
        str,
        Query(
            max_length=60,
            description="Any of day, provider, service, model, project, separated by commas.",
        ),
    ] = "day",
    basis: Annotated[
        Literal["computed", "billed"] | None,
        Query(description="Computed from usage and prices, or billed by the provider."),
    ] = None,
    currency: Annotated[str | None, Query(pattern="^[A-Z]{3}$", description="ISO 4217.")] = None,
    output_format: Annotated[Literal["json", "csv"], Query(alias="format")] = "json",
) -> Response:
    """Return the cost of a range of days, by default of the last 30 complete days.

    Costs of different bases or currencies are never summed: every row and every total names both.
    Usage without a price is listed separately, with the reason.
    """
    today = datetime.now(UTC).date()
    bounds = {"start_date": start_date, "end_date": end_date}
    named = {name: day.isoformat() for name, day in bounds.items() if day is not None}
    days = parse_requested_days(named, today=today)
    query = CostQuery(
        org_slug=org,
        start=days[-1] if days else today - timedelta(days=DEFAULT_DAYS),
        end=days[0] if days else today - timedelta(days=1),
        group_by=_parse_groupings(group_by),
        basis=basis,
        currency=currency,
    )
    costs = read_costs(query, services=services)
    if output_format == "csv":
        return Response(format_csv(costs), media_type="text/csv; charset=utf-8")
    return JSONResponse(costs.model_dump(mode="json", exclude_unset=True))


def _parse_groupings(text: str) -> tuple[Grouping, ...]:
    known = [each.value for each in Grouping]
    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    errors = [
        build_field_error("query.group_by", f"{name} is not a grouping", value=name, accepted=known)
        for name in names
        if name not in known
    ]
    if errors:
        raise InvalidFieldsError(errors)
    return tuple(Grouping(name) for name in names)
