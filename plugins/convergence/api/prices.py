"""An organization's prices of one provider: the defaults, its own rates, and their history."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from convergence.api.price_models import PriceList, PriceRow, RateRequest
from convergence.api.problems import FieldFault, InvalidFieldsError, fault
from convergence.api.services import Services
from convergence.errors import NotFoundError
from convergence.providers.registry import Provider, registry
from convergence.tenants.audit import Act, Actor, audited
from convergence.warehouse.params import typed
from convergence.warehouse.query import changed_rows, run_file
from convergence.warehouse.schemas import TableSchema

_TABLE_SUFFIX = "_model_pricing"
_RATE_SUFFIX = "_per_million"
_UNIT = ("unit_price", "unit")
_KEYS = ("model_id", "service_tier", "context_window", "effective_from")
_NOT_OURS = frozenset({"is_override", "updated_at"})
_OWN_EDITION = "own"
_ANY_WINDOW = "any"
_MOST = Decimal(10) ** 9
_MOST_DECIMALS = 9  # scale of BigQuery's NUMERIC


class Prices:
    """One org's price table of one provider."""

    def __init__(self, services: Services, *, org_slug: str, provider: str) -> None:
        """Find the provider's price table.

        Raises:
            NotFoundError: there is no such provider, or it has no prices per model.
        """
        self._services = services
        self._org = org_slug
        self.provider: Provider = registry(services.settings).get(provider)
        tables = [name for name in self.provider.data_tables if name.endswith(_TABLE_SUFFIX)]
        if not tables:
            raise NotFoundError("the provider has no prices per model", provider=provider)
        self._table = tables[0]
        folder = services.settings.configs_dir / self.provider.id / "seed" / "schemas"
        if not (folder / f"{self._table}.json").is_file():
            raise NotFoundError("the provider has no prices per model", provider=provider)
        self._schema = TableSchema.load(folder / f"{self._table}.json")

    def rows(self, *, model_id: str | None, day: date | None) -> PriceList:
        """Prices in force on a day, or with their whole history."""
        found = self._run(
            "list_prices",
            model_id=model_id or "",
            whole_history=day is None,
            day=typed(day, "DATE"),
        )
        told = [PriceRow(**{name: _told(value) for name, value in row.items()}) for row in found]
        return PriceList(org_slug=self._org, provider=self.provider.id, prices=told)

    def put(self, model_id: str, asked: RateRequest, *, by: Actor, now: datetime) -> PriceList:
        """Set the org's own rate of a model from a day on; give all its prices.

        Raises:
            InvalidFieldsError: a rate is none that the provider has, or no sound amount.
        """
        columns = {field.name: field.type for field in self._schema.fields}
        values = self._values(model_id, asked, columns=columns)
        own = {name: kind for name, kind in columns.items() if name not in _NOT_OURS}
        act = Act(self._org, by, "price.put", f"{self.provider.id}/{model_id}")
        details = {"effective_from": asked.effective_from.isoformat()}
        with audited(self._services.store, act, now=now, details=details):
            changed_rows(
                self._services.warehouse,
                self._services.warehouse.sql("prices/put_override.sql"),
                identifiers={
                    **self._names,
                    "keys": [name for name in _KEYS if name in own],
                    "values": [name for name in own if name not in _KEYS],
                },
                params={
                    "prices": [{name: typed(values[name], kind) for name, kind in own.items()}],
                    "model_id": model_id,
                    "service_tier": asked.service_tier,
                    "effective_from": asked.effective_from,
                    "now": now,
                },
            )
        return self.rows(model_id=model_id, day=None)

    def end(self, model_id: str | None, *, day: date, by: Actor, now: datetime) -> int:
        """End the org's own rates, of a model or of all, on a day; how many there were.

        Raises:
            NotFoundError: the org has no rate of its own for this model.
        """
        known = self.rows(model_id=model_id, day=None).prices
        ending = [
            row
            for row in known
            if row.is_override and not (row.effective_to and row.effective_to <= day)
        ]
        if model_id is not None and not ending:
            raise NotFoundError("no own rate of this model", model_id=model_id)
        target = f"{self.provider.id}/{model_id or '*'}"
        act = Act(self._org, by, "price.end", target)
        with audited(self._services.store, act, now=now, details={"day": day.isoformat()}):
            self._run("end_overrides", model_id=model_id or "", day=day, now=now)
        return len(ending)

    @property
    def _names(self) -> dict[str, str]:
        dataset = self._services.settings.org_dataset(self._org)
        return {"dataset": dataset, "pricing_table": self._table}

    def _run(self, name: str, **params: object) -> list[dict[str, Any]]:
        warehouse = self._services.warehouse
        path = warehouse.sql(f"prices/{name}.sql")
        return run_file(warehouse, path, identifiers=self._names, params=params)

    def _values(
        self, model_id: str, asked: RateRequest, *, columns: Mapping[str, str]
    ) -> dict[str, object]:
        rates = _rates(asked.model_extra or {}, columns=columns)
        if asked.effective_to is not None and asked.effective_to <= asked.effective_from:
            raise InvalidFieldsError([fault("body.effective_to", "is not after effective_from")])
        values: dict[str, object] = dict.fromkeys(columns)
        values |= asked.model_dump(include=set(RateRequest.model_fields)) | rates
        values |= {"model_id": model_id, "effective_basis": "announced"}
        values |= {"price_version": _OWN_EDITION, "context_window": _ANY_WINDOW}
        return values


def _rates(given: Mapping[str, object], *, columns: Mapping[str, str]) -> dict[str, object]:
    accepted = sorted(name for name in columns if name.endswith(_RATE_SUFFIX) or name in _UNIT)
    faults: list[FieldFault] = []
    rates: dict[str, object] = {}
    for name, value in given.items():
        if name not in accepted:
            told = "is not a rate that this provider has"
            faults.append(fault(f"body.{name[:60]}", told, given=name, accepted=accepted))
        elif name == "unit":
            rates[name] = str(value)[:40]
        elif (amount := _amount(value)) is None:
            told = "must be a number from 0 to a billion, with 9 decimals at most"
            faults.append(fault(f"body.{name}", told))
        else:
            rates[name] = amount
    if not rates and not faults:
        faults.append(fault("body", "needs a rate", accepted=accepted))
    if faults:
        raise InvalidFieldsError(faults)
    return rates


def _amount(value: object) -> Decimal | None:
    """An amount of money, never by way of a float's arithmetic."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        return None
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        return None
    if not amount.is_finite() or not 0 <= amount <= _MOST:
        return None
    exponent = amount.normalize().as_tuple().exponent
    return amount if isinstance(exponent, int) and -exponent <= _MOST_DECIMALS else None


def _told(value: object) -> object:
    return format(value.normalize(), "f") if isinstance(value, Decimal) else value
