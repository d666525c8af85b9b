"""Route of the differences between an organization's bills and its computed cost."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from fastapi import Query
from fastapi.responses import JSONResponse, Response

from convergence.api.http.days import Day
from convergence.api.http.dependencies import ServicesDep
from convergence.api.http.problems import InvalidFieldsError, build_field_error
from convergence.api.http.routing import guarded_router
from convergence.api.http.scopes import Scope, require_scope
from convergence.api.reconciliation.models import ReconciliationResponse
from convergence.api.reconciliation.reading import (
    Grouping,
    ReconciliationQuery,
    format_csv,
    read_reconciliation,
)
from convergence.pipelines.running.requested_days import parse_requested_days

router = guarded_router(prefix="/reconciliation", tag="costs")

DEFAULT_DAYS = 30


@router.get(
    "/{org}",
    operation_id="get_reconciliation",
    summary="Get why billed and computed cost differ, by reason, stream or SKU",
    response_model=ReconciliationResponse,
    responses={200: {"content": {"text/csv": {}}}},
)
@require_scope(Scope.COSTS_READ)
def get_reconciliation(
    services: ServicesDep,
    *,
    org: str,
    start_date: Annotated[Day | None, Query(description="First UTC day.")] = None,
    end_date: Annotated[Day | None, Query(description="Last UTC day, included.")] = None,
    group_by: Annotated[
        str,
        Query(
            max_length=60,
            pattern="^[a-z_, ]*$",
            description="Any of stream, sku, reason, separated by commas.",
        ),
    ] = "reason",
    output_format: Annotated[Literal["json", "csv"], Query(alias="format")] = "json",
) -> Response:
    """Return the differences of a range of days, by default of the last 30 complete days.

    The amounts of the reasons add up to the difference. Days with one side only, and amounts in
    two currencies, are in no sum. docs/trust.md describes the reasons.
    """
    today = datetime.now(UTC).date()
    bounds = {"start_date": start_date, "end_date": end_date}
    named = {name: day.isoformat() for name, day in bounds.items() if day is not None}
    days = parse_requested_days(named, today=today)
    query = ReconciliationQuery(
        org_slug=org,
        start=days[-1] if days else today - timedelta(days=DEFAULT_DAYS),
        end=days[0] if days else today - timedelta(days=1),
        group_by=_parse_groupings(group_by),
    )
    found = read_reconciliation(query, services=services)
    if output_format == "csv":
        return Response(format_csv(found), media_type="text/csv; charset=utf-8")
    return JSONResponse(found.model_dump(mode="json", exclude_unset=True))


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
