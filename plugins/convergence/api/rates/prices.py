"""An organization's prices of one provider's models: what a rate may be, and how it is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime

from convergence.api.http.problems import FieldFault, InvalidFieldsError, fault
from convergence.api.http.services import Services
from convergence.api.rates.price_models import PriceList, PriceRow, RateRequest
from convergence.api.rates.tables import MONEY_TOLD, Kind, Terms, amount, shown
from convergence.tenants.audit import Actor
from convergence.warehouse.query import Row

KIND = Kind(
    suffix="_model_pricing",
    sku=("model_id", "service_tier", "context_window"),
    action="price",
    missing="the provider has no prices per model",
)
_RATE_SUFFIX = "_per_million"
_UNIT = ("unit_price", "unit")
_UNIT_CHARS = 40
_ANY_WINDOW = "any"


class Prices:
    """One org's price table of one provider."""

    def __init__(self, services: Services, *, org_slug: str, provider: str) -> None:
        """Find the provider's price table.

        Raises:
            NotFoundError: there is no such provider, or it has no prices per model.
        """
        self._terms = Terms(services, KIND, org_slug=org_slug, provider=provider)
        self._org = org_slug
        self.provider = self._terms.provider

    def rows(self, *, model_id: str | None, day: date | None) -> PriceList:
        """Prices in force on a day, or with their whole history."""
        return self._told(self._terms.rows(name=model_id, day=day))

    def put(self, model_id: str, asked: RateRequest, *, by: Actor, now: datetime) -> PriceList:
        """Set the org's own rate of a model from a day on; give all its prices.

        Raises:
            InvalidFieldsError: a rate is none that the provider has, or no sound amount; it ends
                before it begins, or overlaps a later one.
        """
        values = asked.model_dump(include=set(RateRequest.model_fields)) | {"model_id": model_id}
        if "context_window" in self._terms.columns:
            values["context_window"] = _ANY_WINDOW
        values |= _rates(asked.model_extra or {}, columns=self._terms.columns)
        return self._told(self._terms.put(values, by=by, now=now))

    def end(self, model_id: str | None, *, day: date, by: Actor, now: datetime) -> int:
        """End the org's own rates, of a model or of all, on a day; how many there were.

        Raises:
            NotFoundError: the org has no rate of its own for this model.
        """
        return self._terms.end(model_id, day=day, by=by, now=now)

    def _told(self, rows: Sequence[Row]) -> PriceList:
        told = [PriceRow.model_validate(shown(row)) for row in rows]
        return PriceList(org_slug=self._org, provider=self.provider.id, prices=told)


def _rates(given: Mapping[str, object], *, columns: Sequence[str]) -> dict[str, object]:
    accepted = sorted(name for name in columns if name.endswith(_RATE_SUFFIX) or name in _UNIT)
    faults: list[FieldFault] = []
    rates: dict[str, object] = {}
    for name, value in given.items():
        if name not in accepted:
            told = "is not a rate that this provider has"
            faults.append(fault(f"body.{name[:60]}", told, given=name, accepted=accepted))
        elif name == "unit":
            rates[name] = value
        else:
            rates[name] = amount(value)
            if rates[name] is None:
                faults.append(fault(f"body.{name}", MONEY_TOLD))
    faults += _unit_faults(rates)
    if not rates and not faults:
        faults.append(fault("body", "needs a rate", accepted=accepted))
    if faults:
        raise InvalidFieldsError(faults)
    return rates


def _unit_faults(rates: Mapping[str, object]) -> list[FieldFault]:
    unit = rates.get("unit")
    if unit is not None and not (isinstance(unit, str) and 0 < len(unit) <= _UNIT_CHARS):
        return [fault("body.unit", f"is a text of 1 to {_UNIT_CHARS} characters")]
    if (unit is None) != (rates.get("unit_price") is None):
        return [fault("body.unit", "a price per unit and its unit come together")]
    return []
