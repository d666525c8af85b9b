"""Route of an organization's cost."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from fastapi import Header, Query
from fastapi.responses import Response
from starlette.requests import Request

from convergence.api.costs.csv_format import format_csv
from convergence.api.costs.dimensions import (
    ACCEPTED,
    MAX_FILTERS,
    parse_filters,
    parse_groupings,
)
from convergence.api.costs.models import CostResponse
from convergence.api.costs.reading import Basis, CostQuery, read_costs
from convergence.api.http.days import Day
from convergence.api.http.dependencies import ServicesDep
from convergence.api.http.models import ONE_LINE
from convergence.api.http.routing import guarded_router
from convergence.api.http.scopes import Scope, require_scope
from convergence.pipelines.running.requested_days import parse_requested_days

router = guarded_router(prefix="/costs", tag="costs")

DEFAULT_DAYS = 30
_DIMENSIONS = ", ".join(ACCEPTED)


@router.get(
    "/{org}",
    operation_id="get_costs",
    summary="Get cost by day, stream, model, project, tag and other dimensions",
    response_model=CostResponse,
    responses={
        200: {"content": {"text/csv": {}}},
        304: {"description": "The cost is that of the ETag in `If-None-Match`."},
    },
)
@require_scope(Scope.COSTS_READ)
def get_costs(
    services: ServicesDep,
    request: Request,
    *,
    org: str,
    start_date: Annotated[Day | None, Query(description="First UTC day.")] = None,
    end_date: Annotated[Day | None, Query(description="Last UTC day, included.")] = None,
    group_by: Annotated[
        str,
        Query(max_length=1000, description=f"Any of {_DIMENSIONS}, separated by commas."),
    ] = "day",
    filters: Annotated[
        list[Annotated[str, Query(max_length=500, pattern=ONE_LINE)]] | None,
        Query(
            alias="filter",
            max_length=MAX_FILTERS,
            description="DIMENSION=VALUE, with a dimension of `group_by`; repeat it for more. "
            "Values of one dimension are alternatives, filters of several dimensions all apply; "
            "an empty VALUE selects what has none.",
        ),
    ] = None,
    basis: Annotated[
        Basis,
        Query(
            description="best: of each stream and day the bill once it covers the day, until then "
            "the computed cost. billed or computed: that basis alone, of every day that has it."
        ),
    ] = "best",
    currency: Annotated[str | None, Query(pattern="^[A-Z]{3}$", description="ISO 4217.")] = None,
    output_format: Annotated[Literal["json", "csv"], Query(alias="format")] = "json",
    page: Annotated[
        str | None,
        Query(
            pattern=r"^[0-9]{1,9}\.[0-9a-f]{16}$",
            description="`next_page` of the page before, with the same other parameters.",
        ),
    ] = None,
    if_none_match: Annotated[str | None, Header(max_length=1000)] = None,
) -> Response:
    """Return the cost of a range of days, by default of the last 30 complete days.

    `billed_cost` is the headline: what the invoices show, `expected_cost` of it computed from usage
    because no bill covers it yet. Currencies are never summed. `coverage` says for each day and
    stream what is shown and why; `billing_months` names the invoices that the range cuts. Usage
    without a price is listed with the reason. Above 20,000 rows the result is paged: follow
    `next_page`, or the header `Link`.
    """
    today = datetime.now(UTC).date()
    bounds = {"start_date": start_date, "end_date": end_date}
    named = {name: day.isoformat() for name, day in bounds.items() if day is not None}
    days = parse_requested_days(named, today=today)
    query = CostQuery(
        org_slug=org,
        start=days[-1] if days else today - timedelta(days=DEFAULT_DAYS),
        end=days[0] if days else today - timedelta(days=1),
        group_by=parse_groupings(group_by),
        filters=parse_filters(filters or ()),
        basis=basis,
        currency=currency,
        page=page,
    )
    costs = read_costs(query, services=services)
    return _build_response(request, costs, output_format, if_none_match)


def _build_response(
    request: Request, costs: dict[str, Any], output_format: str, if_none_match: str | None
) -> Response:
    """Return the body with its ETag, or 304 without it where the caller has the same."""
    if output_format == "csv":
        body, media_type = format_csv(costs).encode(), "text/csv; charset=utf-8"
    else:
        text = json.dumps(costs, ensure_ascii=False, separators=(",", ":"))
        body, media_type = text.encode(), "application/json"
    headers = {"ETag": f'"{hashlib.sha256(body).hexdigest()[:32]}"'}
    if "next_page" in costs:
        url = request.url.include_query_params(page=costs["next_page"])
        headers["Link"] = f'<?{url.query}>; rel="next"'
    if if_none_match is not None and headers["ETag"] in if_none_match:
        return Response(status_code=304, headers=headers)
    return Response(body, media_type=media_type, headers=headers)
