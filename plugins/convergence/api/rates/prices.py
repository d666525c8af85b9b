"""Prices of a provider's models: their table, the validation of a request, the response."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from convergence.api.http.problems import FieldError, InvalidFieldsError, build_field_error
from convergence.api.rates.amounts import AMOUNT_MESSAGE, format_row, parse_amount
from convergence.api.rates.models import PriceList, PriceRequest, PriceRow
from convergence.api.rates.tables import RateKind
from convergence.warehouse.query import Row

_RATE_SUFFIX = "_per_million"
_UNIT_COLUMNS = ("unit_price", "unit")
_MAX_UNIT_CHARS = 40
_ANY_WINDOW = "any"


def _build_price_values(request: PriceRequest, columns: Sequence[str]) -> dict[str, object]:
    """Return the request's values by column.

    Raises:
        InvalidFieldsError: a field is not a rate of the provider, or not a valid amount.
    """
    values = request.model_dump(include=set(PriceRequest.model_fields))
    if "context_window" in columns:
        values["context_window"] = _ANY_WINDOW
    return values | _parse_rates(request.model_extra or {}, columns=columns)


def _parse_rates(fields: Mapping[str, object], *, columns: Sequence[str]) -> dict[str, object]:
    accepted = sorted(
        name for name in columns if name.endswith(_RATE_SUFFIX) or name in _UNIT_COLUMNS
    )
    errors: list[FieldError] = []
    rates: dict[str, object] = {}
    for name, value in fields.items():
        if name not in accepted:
            message = "is not a rate of this provider"
            errors.append(
                build_field_error(f"body.{name[:60]}", message, value=name, accepted=accepted)
            )
        elif name == "unit":
            rates[name] = value
        else:
            rates[name] = parse_amount(value)
            if rates[name] is None:
                errors.append(build_field_error(f"body.{name}", AMOUNT_MESSAGE))
    errors += _check_unit(rates)
    if not rates and not errors:
        errors.append(build_field_error("body", "must have at least one rate", accepted=accepted))
    if errors:
        raise InvalidFieldsError(errors)
    return rates


def _check_unit(rates: Mapping[str, object]) -> list[FieldError]:
    unit = rates.get("unit")
    if unit is not None and not (isinstance(unit, str) and 0 < len(unit) <= _MAX_UNIT_CHARS):
        message = f"must be a text of 1 to {_MAX_UNIT_CHARS} characters"
        return [build_field_error("body.unit", message)]
    if (unit is None) != (rates.get("unit_price") is None):
        return [build_field_error("body.unit", "unit and unit_price must be set together")]
    return []


def _build_price_list(org_slug: str, provider: str, rows: Sequence[Row]) -> PriceList:
    prices = [PriceRow.model_validate(format_row(row)) for row in rows]
    return PriceList(org_slug=org_slug, provider=provider, prices=prices)


PRICES = RateKind(
    suffix="_model_pricing",
    sku=("model_id", "service_tier", "context_window"),
    action="price",
    missing="the provider has no prices per model",
    empty_for_llm=False,
    build_values=_build_price_values,
    build_list=_build_price_list,
)
