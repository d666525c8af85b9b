"""An organization's plans with a provider: seats, their price, and since when."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime

from convergence.api.http.services import Services
from convergence.api.rates.subscription_models import PlanRequest, SubscriptionList, SubscriptionRow
from convergence.api.rates.tables import Kind, Terms, provider_of, shown
from convergence.errors import NotFoundError
from convergence.providers.registry import Provider
from convergence.tenants.audit import Actor
from convergence.warehouse.query import Row

KIND = Kind(
    suffix="_subscriptions",
    sku=("plan_name", "billing_period"),
    action="subscription",
    missing="the provider has no plans",
)


class Subscriptions:
    """One org's plans with one LLM provider, which may have none to offer."""

    def __init__(self, services: Services, *, org_slug: str, provider: str) -> None:
        """Find the provider's plans.

        Raises:
            NotFoundError: there is no such provider, or it is none whose plans are kept.
        """
        self._services = services
        self._org = org_slug
        found, self._offers = provider_of(services, KIND, provider)
        if not self._offers and found.kind != "llm":
            raise NotFoundError(KIND.missing, provider=provider)
        self.provider: Provider = found

    def rows(self, *, plan_name: str | None, day: date | None) -> SubscriptionList:
        """Plans in force on a day, or with their whole history; none where there are no plans."""
        return self._told(self._terms.rows(name=plan_name, day=day) if self._offers else [])

    def put(
        self, plan_name: str, asked: PlanRequest, *, by: Actor, now: datetime
    ) -> SubscriptionList:
        """Set the org's own seats and price of a plan from a day on; give all its rows.

        Raises:
            NotFoundError: the provider has no plans.
            InvalidFieldsError: it ends before it begins, or overlaps a later one.
        """
        values = asked.model_dump(include=set(PlanRequest.model_fields))
        return self._told(self._terms.put(values | {"plan_name": plan_name}, by=by, now=now))

    def end(self, plan_name: str | None, *, day: date, by: Actor, now: datetime) -> int:
        """End the org's own plans, one or all, on a day; how many there were.

        Raises:
            NotFoundError: the org has no such plan of its own.
        """
        if plan_name is None and not self._offers:
            return 0
        return self._terms.end(plan_name, day=day, by=by, now=now)

    @property
    def _terms(self) -> Terms:
        return Terms(self._services, KIND, org_slug=self._org, provider=self.provider.id)

    def _told(self, rows: Sequence[Row]) -> SubscriptionList:
        names = SubscriptionRow.model_fields
        told = [SubscriptionRow(**{name: shown(row)[name] for name in names}) for row in rows]
        return SubscriptionList(org_slug=self._org, provider=self.provider.id, subscriptions=told)
