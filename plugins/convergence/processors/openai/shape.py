"""Convert results of OpenAI's organization usage and costs to rows of the raw tables.

A result has its own fields and the `start_time` and `end_time` (Unix seconds) of its bucket;
source: https://platform.openai.com/docs/api-reference/usage.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from convergence.errors import ProviderProtocolError
from convergence.processors.lib.daily.fields import FieldReader, amount, money, text

LEGACY_SHAPE = 1
"""2024 to 2025: the audio count includes cached audio; no uncached and no cache-write count."""
SPLIT_SHAPE = 2
"""From 2026: input = uncached + cached + written."""

BUCKET_FIELDS = ("start_time", "end_time")


class UsageShape:
    """Converts results of one usage endpoint to rows.

    Args:
        endpoint: last part of the endpoint's path, such as `completions`.
        columns: column → BigQuery type of the raw table.
        unknown: counter of the fields without a column.
    """

    def __init__(
        self, endpoint: str, *, columns: Mapping[str, str], unknown: Counter[str] | None = None
    ) -> None:
        self._endpoint = endpoint
        added = ("endpoint", "shape_version")
        self._reader = FieldReader(
            columns, filled_by_caller=added, source=endpoint, unknown=unknown, signed_counts=False
        )

    def build_row(self, result: Mapping[str, Any]) -> dict[str, Any]:
        """Return a result as a row of the raw table.

        Raises:
            ProviderProtocolError: the result breaks the documented shape; the error
                names the field.
        """
        fields = {name: value for name, value in result.items() if name not in BUCKET_FIELDS}
        return {
            **_read_bucket(self._reader, result),
            "endpoint": self._endpoint,
            "shape_version": shape_version(fields),
            **self._reader.row(fields),
        }


class BilledShape:
    """Converts results of the costs endpoint to rows.

    `amount.value` is documented as a number and was also observed as text
    (https://github.com/steipete/CodexBar/issues/999). Both are accepted, neither through float.
    """

    def __init__(self, *, columns: Mapping[str, str], unknown: Counter[str] | None = None) -> None:
        added = ("billed_cost", "currency", "amount_received")
        self._reader = FieldReader(columns, filled_by_caller=added, source="costs", unknown=unknown)

    def build_row(self, result: Mapping[str, Any]) -> dict[str, Any]:
        """Return a result as a row of the billed table; errors as `UsageShape.build_row`."""
        left_out = {*BUCKET_FIELDS, "amount"}
        fields = {name: value for name, value in result.items() if name not in left_out}
        amount_fields = result.get("amount")
        if not isinstance(amount_fields, Mapping):
            raise ProviderProtocolError("A cost has no amount", source="costs", field="amount")
        value = self._reader.read(amount, amount_fields, "value")
        currency = self._reader.read(text, amount_fields, "currency")
        if value is None or not currency:
            raise ProviderProtocolError(
                "A cost has no value or no currency", source="costs", field="amount"
            )
        return {
            **_read_bucket(self._reader, result),
            "billed_cost": money(value),
            "currency": currency.upper(),
            "amount_received": str(amount_fields["value"]),
            **self._reader.row(fields),
        }


def shape_version(result: Mapping[str, Any]) -> int:
    """Return which of the two documented shapes a result has."""
    return LEGACY_SHAPE if result.get("input_uncached_tokens") is None else SPLIT_SHAPE


def _read_bucket(reader: FieldReader, result: Mapping[str, Any]) -> dict[str, Any]:
    start, end = (reader.moment(result, name) for name in BUCKET_FIELDS)
    return reader.bucket(start, end)
