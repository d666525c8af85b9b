"""Convert rows of Anthropic's usage and cost reports, of either generation, to the raw tables.

The older reports have results in buckets; the analytics have flat rows with their dimensions in
`group`. Sources: https://platform.claude.com/docs/en/manage-claude/usage-cost-api and
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
# Nested field → column; other nested fields are stored in `extra`.
_NESTED = {
    ("cache_creation", "ephemeral_5m_input_tokens"): "cache_write_5m_input_tokens",
    ("cache_creation", "ephemeral_1h_input_tokens"): "cache_write_1h_input_tokens",
    ("server_tool_use", "web_search_requests"): "web_search_requests",
}
CENTS = -2
"""Power of ten of the smallest unit, in which reports have amounts."""


class UsageShape:
    """Converts rows of a usage report to rows of the raw table.

    Args:
        api: the generation of the report.
        columns: column → BigQuery type of the raw table.
        unknown: counter of the fields without a column.
    """

    def __init__(
        self, api: Api, *, columns: Mapping[str, str], unknown: Counter[str] | None = None
    ) -> None:
        self._api = api
        source = f"{api} usage"
        self._reader = FieldReader(
            columns, filled_by_caller=("api",), source=source, unknown=unknown, signed_counts=False
        )

    def build_row(self, result: Mapping[str, Any]) -> dict[str, Any]:
        """Return a row of the report as a row of the raw table.

        Raises:
            ProviderProtocolError: the row breaks the documented shape; the error names the field.
        """
        fields = _flatten(result, "usage", api=self._api)
        return {**_read_bucket(self._reader, result), "api": self._api, **self._reader.row(fields)}


class BilledShape:
    """Converts rows of a cost report to rows of the billed table; cents become the main unit."""

    def __init__(
        self, api: Api, *, columns: Mapping[str, str], unknown: Counter[str] | None = None
    ) -> None:
        self._api = api
        amounts = ("billed_cost", "list_cost", "currency")
        added = ("api", *amounts, "amount_received", "list_amount_received")
        self._reader = FieldReader(
            columns, filled_by_caller=added, source=f"{api} cost", unknown=unknown
        )

    def build_row(self, result: Mapping[str, Any]) -> dict[str, Any]:
        """Return a row of the billed table; errors as `UsageShape.build_row`."""
        fields = _flatten(result, "cost", api=self._api)
        billed, listed = (self._read_cents(fields, name) for name in ("amount", "list_amount"))
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
            **_read_bucket(self._reader, result),
            "api": self._api,
            "billed_cost": money(billed),
            "list_cost": None if listed is None else money(listed),
            "currency": currency.upper(),
            **{name: None if value is None else str(value) for name, value in received.items()},
            **self._reader.row(fields),
        }

    def _read_cents(self, fields: Mapping[str, Any], name: str) -> Decimal | None:
        """Return an amount in the main unit; reports have decimal text in the smallest unit."""
        found: Decimal | None = self._reader.read(amount, fields, name)
        return None if found is None else found.scaleb(CENTS)


def _flatten(result: Mapping[str, Any], measures: str, *, api: Api) -> dict[str, Any]:
    """Return the fields of a row on one level, with the names of the columns."""
    fields = {name: value for name, value in result.items() if name not in BUCKET_FIELDS}
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


def _read_bucket(reader: FieldReader, result: Mapping[str, Any]) -> dict[str, Any]:
    start, end = (reader.moment(result, name) for name in BUCKET_FIELDS)
    return reader.bucket(start, end)
