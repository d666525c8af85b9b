"""Results of OpenAI's organization usage and costs → rows of the raw tables.

A result arrives with its bucket's `start_time` and `end_time` (Unix seconds) beside its own
fields; source: https://platform.openai.com/docs/api-reference/usage.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from convergence.errors import ProviderProtocolError
from convergence.processors.lib.daily.fields import FieldReader, amount, money, text

LEGACY_SHAPE = 1
"""2024 to 2025: cached audio inside the audio count, no uncached and no cache-write count."""
SPLIT_SHAPE = 2
"""From 2026: input = uncached + cached + written."""

BUCKET_FIELDS = ("start_time", "end_time")


class UsageShape:
    """Turns results of one usage endpoint into rows.

    Args:
        endpoint: last part of the endpoint's path, such as `completions`.
        columns: column → BigQuery type of the raw table.
        unknown: counts fields without a column.
    """

    def __init__(
        self, endpoint: str, *, columns: Mapping[str, str], unknown: Counter[str] | None = None
    ) -> None:
        self._endpoint = endpoint
        own = ("endpoint", "shape_version")
        self._reader = FieldReader(columns, own=own, source=endpoint, unknown=unknown)

    def row(self, result: Mapping[str, Any]) -> dict[str, Any]:
        """A result as a row of the raw table.

        Raises:
            ProviderProtocolError: it breaks the documented shape; facts name the field.
        """
        fields = {name: value for name, value in result.items() if name not in BUCKET_FIELDS}
        return {
            **_bucket(self._reader, result),
            "endpoint": self._endpoint,
            "shape_version": shape_version(fields),
            **self._reader.row(fields),
        }


class BilledShape:
    """Turns results of the costs endpoint into rows.

    `amount.value` is documented as a number and was seen as text
    (https://github.com/steipete/CodexBar/issues/999); both are read, neither through float.
    """

    def __init__(self, *, columns: Mapping[str, str], unknown: Counter[str] | None = None) -> None:
        own = ("billed_cost", "currency", "amount_received")
        self._reader = FieldReader(columns, own=own, source="costs", unknown=unknown)

    def row(self, result: Mapping[str, Any]) -> dict[str, Any]:
        """A result as a row of the billed table; errors as `UsageShape.row`."""
        left_out = {*BUCKET_FIELDS, "amount"}
        fields = {name: value for name, value in result.items() if name not in left_out}
        told = result.get("amount")
        if not isinstance(told, Mapping):
            raise ProviderProtocolError("A cost has no amount", source="costs", field="amount")
        value = self._reader.read(amount, told, "value")
        currency = self._reader.read(text, told, "currency")
        if value is None or not currency:
            raise ProviderProtocolError(
                "A cost has no value or no currency", source="costs", field="amount"
            )
        return {
            **_bucket(self._reader, result),
            "billed_cost": money(value),
            "currency": currency.upper(),
            "amount_received": str(told["value"]),
            **self._reader.row(fields),
        }


def shape_version(result: Mapping[str, Any]) -> int:
    """Which of the two documented shapes a result has."""
    return LEGACY_SHAPE if result.get("input_uncached_tokens") is None else SPLIT_SHAPE


def _bucket(reader: FieldReader, result: Mapping[str, Any]) -> dict[str, Any]:
    start, end = (reader.moment(result, name) for name in BUCKET_FIELDS)
    return reader.bucket(start, end)
