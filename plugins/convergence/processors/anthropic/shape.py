"""Rows of Anthropic's usage and cost reports, of either generation → rows of the raw tables.

The older reports come as results of buckets, the analytics as flat rows whose dimensions are in
`group`; sources: https://platform.claude.com/docs/en/manage-claude/usage-cost-api and
https://platform.claude.com/docs/en/manage-claude/usage-cost-analytics-api.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from convergence.errors import ProviderProtocolError
from convergence.processors.anthropic.config import Api
from convergence.processors.lib.daily.fields import FieldReader, amount, money, text

BUCKET_FIELDS = ("starting_at", "ending_at")
# Nested field → column; what else is nested is kept in `extra`.
_NESTED = {
    ("cache_creation", "ephemeral_5m_input_tokens"): "cache_write_5m_input_tokens",
    ("cache_creation", "ephemeral_1h_input_tokens"): "cache_write_1h_input_tokens",
    ("server_tool_use", "web_search_requests"): "web_search_requests",
}
_HUNDREDTHS = -2


class UsageShape:
    """Turns rows of a usage report into rows.

    Args:
        api: which generation.
        columns: column → BigQuery type of the raw table.
        unknown: counts fields without a column.
    """

    def __init__(
        self, api: Api, *, columns: Mapping[str, str], unknown: Counter[str] | None = None
    ) -> None:
        self._api = api
        source = f"{api} usage"
        self._reader = FieldReader(columns, own=("api",), source=source, unknown=unknown)

    def row(self, told: Mapping[str, Any]) -> dict[str, Any]:
        """A row of the raw table.

        Raises:
            ProviderProtocolError: it breaks the documented shape; facts name the field.
        """
        fields = _flat(told, "usage", api=self._api)
        return {**_bucket(self._reader, told), "api": self._api, **self._reader.row(fields)}


class BilledShape:
    """Turns rows of a cost report into rows: cents become the main unit, exactly."""

    def __init__(
        self, api: Api, *, columns: Mapping[str, str], unknown: Counter[str] | None = None
    ) -> None:
        self._api = api
        amounts = ("billed_cost", "list_cost", "currency")
        own = ("api", *amounts, "amount_received", "list_amount_received")
        self._reader = FieldReader(columns, own=own, source=f"{api} cost", unknown=unknown)

    def row(self, told: Mapping[str, Any]) -> dict[str, Any]:
        """A row of the billed table; errors as `UsageShape.row`."""
        fields = _flat(told, "cost", api=self._api)
        billed, listed = (self._cents(fields, name) for name in ("amount", "list_amount"))
        currency = self._reader.read(text, fields, "currency")
        if billed is None or not currency:
            raise ProviderProtocolError(
                "A cost has no amount or no currency", source=f"{self._api} cost", field="amount"
            )
        received = {
            f"{name}_received": fields.pop(name, None) for name in ("amount", "list_amount")
        }
        fields.pop("currency")
        return {
            **_bucket(self._reader, told),
            "api": self._api,
            "billed_cost": money(billed),
            "list_cost": None if listed is None else money(listed),
            "currency": currency.upper(),
            **{name: None if value is None else str(value) for name, value in received.items()},
            **self._reader.row(fields),
        }

    def _cents(self, fields: Mapping[str, Any], name: str) -> Decimal | None:
        """Documented as decimal text in the smallest unit, fractions included."""
        found: Decimal | None = self._reader.read(amount, fields, name)
        return None if found is None else found.scaleb(_HUNDREDTHS)


def _flat(told: Mapping[str, Any], measures: str, *, api: Api) -> dict[str, Any]:
    """The fields of a row on one level, named as columns are."""
    fields = {name: value for name, value in told.items() if name not in BUCKET_FIELDS}
    if api == "analytics":
        for name in ("group", measures):
            inner = fields.pop(name, None)
            if not isinstance(inner, Mapping):
                raise ProviderProtocolError(
                    f"A row has no {name}", source=f"{api} {measures}", field=name
                )
            fields |= inner
    for (outer, inner_name), column in _NESTED.items():
        nested = fields.get(outer)
        if isinstance(nested, Mapping) and inner_name in nested:
            rest = {name: value for name, value in nested.items() if name != inner_name}
            fields = {**fields, outer: rest, column: nested[inner_name]}
    return {name: value for name, value in fields.items() if value != {}}


def _bucket(reader: FieldReader, told: Mapping[str, Any]) -> dict[str, Any]:
    start, end = (reader.moment(told, name) for name in BUCKET_FIELDS)
    return reader.bucket(start, end)
