"""Plans with seats at a provider: their table and the response."""

from __future__ import annotations

from collections.abc import Sequence

from convergence.api.rates.amounts import format_row
from convergence.api.rates.models import PlanList, PlanRequest, PlanRow
from convergence.api.rates.tables import RateKind
from convergence.warehouse.query import Row


def _build_plan_values(request: PlanRequest, _columns: Sequence[str]) -> dict[str, object]:
    return request.model_dump(include=set(PlanRequest.model_fields))


def _build_plan_list(org_slug: str, provider: str, rows: Sequence[Row]) -> PlanList:
    names = PlanRow.model_fields
    plans = [PlanRow(**{name: format_row(row)[name] for name in names}) for row in rows]
    return PlanList(org_slug=org_slug, provider=provider, subscriptions=plans)


PLANS = RateKind(
    suffix="_subscriptions",
    sku=("plan_name", "billing_period"),
    action="subscription",
    missing="the provider has no plans",
    empty_for_llm=True,
    build_values=_build_plan_values,
    build_list=_build_plan_list,
)
