"""The costs endpoint: the lines of the bill, grouped and filtered as requested."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime
from decimal import Decimal

from convergence_sandbox.providers.bills.line import BillLine
from convergence_sandbox.providers.derive import chance
from convergence_sandbox.providers.openai.query import BucketQuery, Dimensions

DIMENSIONS = Dimensions(
    group_by=("project_id", "user_id", "line_item", "api_key_id", "api_source"),
    filters={
        "project_ids": "project_id",
        "api_key_ids": "api_key_id",
        "line_items": "line_item",
    },
)
Group = tuple[tuple[str, object], ...]


def find_day(start: int) -> date:
    """Return the UTC day of a bucket."""
    return datetime.fromtimestamp(start, tz=UTC).date()


def list_results(
    seed: str, start: int, query: BucketQuery, *, lines: Iterable[BillLine]
) -> list[dict[str, object]]:
    """Return the results of one daily bucket, grouped and filtered as requested."""
    day = find_day(start)
    by_line = "line_item" in query.group_by
    return [
        _result(keys, members, by_line=by_line, as_text=chance(seed, day, *keys, percent=20))
        for (keys, _), members in _group_lines(lines, query).items()
    ]


def _group_lines(
    lines: Iterable[BillLine], query: BucketQuery
) -> dict[tuple[Group, str], list[BillLine]]:
    """Amounts of two currencies are never one result."""
    groups: dict[tuple[Group, str], list[BillLine]] = {}
    for line in lines:
        if all(str(line.keys[key]) in accepted for key, accepted in query.filters.items()):
            group = tuple((key, line.keys[key]) for key in query.group_by)
            groups.setdefault((group, line.currency), []).append(line)
    return groups


def _result(
    keys: Group, members: list[BillLine], *, by_line: bool, as_text: bool
) -> dict[str, object]:
    amount = sum((line.amount for line in members), Decimal(0))
    values = dict(keys)
    currency = members[0].currency.lower()
    result: dict[str, object] = {
        "object": "organization.costs.result",
        # Documented as a number, seen as a string in the field: both happen here.
        "amount": {"value": f"{amount:.18f}" if as_text else amount, "currency": currency},
        **{key: values.get(key) for key in DIMENSIONS.group_by},
    }
    if by_line:
        counted = [line.quantity for line in members if line.quantity is not None]
        result["quantity"] = sum(counted) if counted else None
        result["quantity_unit"] = members[0].unit
    return result
