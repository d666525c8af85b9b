"""The analytics reports: flat rows, `analytics/usage` and `analytics/cost`.

`limit` counts rows and is 20 unless requested; rows sort by metric unless requested by time. How
far back a request may reach depends on the day it is made, so only the fixed first day is checked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal

from convergence_sandbox.providers.anthropic.bill import apply_seed_discount, cents
from convergence_sandbox.providers.anthropic.query import (
    DAY,
    WIDTHS,
    InvalidQueryError,
    QueryParams,
    passes,
    rfc3339,
)
from convergence_sandbox.providers.anthropic.usage import build_usage, organization_id
from convergence_sandbox.providers.bills.book import BillReader
from convergence_sandbox.providers.derive import share

BETA = "analytics-usage-cost-2026-08-24"
GROUPS = (
    *("actor", "actor_type", "agent_id", "api_key_id", "claude_tag_category"),
    *("claude_tag_user_id", "context_window", "deployment_id", "environment_id"),
    *("inference_geo", "model", "organization_id", "product", "rbac_group_id", "service_tier"),
    *("session_id", "slack_channel_id", "speed", "user_profile_id", "workspace_id"),
)
COST_GROUPS = ("cost_type", "token_type")
"""These two come on top of the five."""
MAX_GROUPS = 5
FIRST = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp())
_FILTERS = {f"{name}s": name for name in GROUPS}
_SCALARS = {
    *("starting_at", "ending_at", "time_bucket_width", "limit", "page", "group_by"),
    *("order_by", "order"),
}
Amounts = Mapping[str, Decimal]
Source = Callable[[datetime], Iterator[tuple[Mapping[str, str | None], Amounts]]]


@dataclass
class _Row:
    start: int
    end: int
    group: dict[str, str | None]
    currency: str
    sums: dict[str, Decimal] = field(default_factory=dict)

    def add(self, amounts: Amounts) -> None:
        for name, value in amounts.items():
            self.sums[name] = self.sums.get(name, Decimal(0)) + value


@dataclass(frozen=True)
class _Query:
    """Which rows: the windows they are summed over, what they are split by, which count."""

    start: int
    end: int
    width: int | None
    groups: tuple[str, ...]
    filters: Mapping[str, Sequence[str]]

    def windows(self) -> list[tuple[int, int]]:
        """Return one per bucket, or the whole range."""
        if self.width is None:
            return [(self.start, self.end)]
        first = self.start - self.start % self.width
        return [(one, one + self.width) for one in range(first, self.end, self.width)]

    def days(self) -> list[date]:
        """Return the UTC days that the windows touch."""
        first = self.start - self.start % DAY
        return [datetime.fromtimestamp(one, UTC).date() for one in range(first, self.end, DAY)]


def usage_rows(seed: str, pairs: Sequence[tuple[str, str]], *, now: datetime) -> dict[str, object]:
    """`GET /v1/organizations/analytics/usage`."""

    def source(day: datetime) -> Iterator[tuple[Mapping[str, str | None], Amounts]]:
        for row in build_usage(seed, day.date()):
            yield row.keys, {name: Decimal(value) for name, value in row.amounts.items()}

    return _response(seed, pairs, source, shown=_usage, groups=GROUPS, metric="output", now=now)


def cost_rows(
    seed: str, pairs: Sequence[tuple[str, str]], *, now: datetime, read_bill: BillReader
) -> dict[str, object]:
    """`GET /v1/organizations/analytics/cost`."""
    groups = (*GROUPS, *COST_GROUPS)
    params = QueryParams.read(pairs, accepted=_SCALARS | set(_FILTERS))
    parsed = _parse_query(params, groups, now=now)
    # A later page belongs to the read of the first one; the check of a key groups by nothing.
    bills = read_bill(parsed.days(), counts=bool(parsed.groups) and params.position() is None)

    def source(day: datetime) -> Iterator[tuple[Mapping[str, str | None], Amounts]]:
        for line in bills[day.date()]:
            amount = apply_seed_discount(seed, line)
            amounts = {"amount": amount, "list_amount": line.list_amount}
            keys = {**line.keys, "currency": line.currency}
            yield keys, {**amounts, "requests": Decimal(line.requests)}

    return _response(seed, pairs, source, shown=_cost, groups=groups, metric="amount", now=now)


def _response(
    seed: str,
    pairs: Sequence[tuple[str, str]],
    source: Source,
    *,
    shown: Callable[[_Row], dict[str, object]],
    groups: tuple[str, ...],
    metric: str,
    now: datetime,
) -> dict[str, object]:
    params = QueryParams.read(pairs, accepted=_SCALARS | set(_FILTERS))
    parsed = _parse_query(params, groups, now=now)
    by_time = params.one_of("order_by", ("time", metric), default=metric) == "time"
    descending = params.one_of("order", ("asc", "desc"), default="asc" if by_time else "desc")
    rows = _group_rows(parsed, source, groups=groups)
    if by_time:
        rows.sort(key=lambda row: (row.start, str(row.group)))
    else:
        rows.sort(key=lambda row: row.sums.get(metric, Decimal(0)))
    if descending == "desc":
        rows.reverse()
    begins, limit = params.position() or 0, params.integer("limit", default=20, high=1_000)
    more = begins + limit < len(rows)
    return {
        "data": [
            {
                "starting_at": rfc3339(row.start),
                "ending_at": rfc3339(row.end),
                "group": row.group,
                **shown(row),
            }
            for row in rows[begins : begins + limit]
        ],
        "has_more": more,
        "next_page": params.token(begins + limit) if more else None,
        "data_refreshed_at": rfc3339(parsed.end + 4 * 3_600),
        "organization_id": organization_id(seed),
    }


def _parse_query(params: QueryParams, accepted: tuple[str, ...], *, now: datetime) -> _Query:
    name = params.one_of("time_bucket_width", tuple(WIDTHS), default=None)
    width = WIDTHS[name] if name else None
    start = params.moment("starting_at")
    end = params.moment("ending_at", default=None if width else now)
    if start < FIRST:
        raise InvalidQueryError("starting_at: must not be before 2026-01-01T00:00:00Z")
    if end <= start:
        raise InvalidQueryError("ending_at: must be after starting_at")
    maximum = DAY if name == "1m" else 31 * DAY
    if end - start > maximum:
        raise InvalidQueryError(f"ending_at: the range must not exceed {maximum // DAY} days")
    groups = params.several("group_by", accepted)
    if len(set(groups) - set(COST_GROUPS)) > MAX_GROUPS:
        raise InvalidQueryError(f"group_by: at most {MAX_GROUPS} dimensions")
    filters = {
        key: params.values[plural] for plural, key in _FILTERS.items() if plural in params.values
    }
    return _Query(start, end, width, groups, filters)


def _group_rows(parsed: _Query, source: Source, *, groups: tuple[str, ...]) -> list[_Row]:
    found: dict[tuple[object, ...], _Row] = {}
    for start, end in parsed.windows():
        for keys, amounts in _within(source, start, end):
            if not passes(keys, parsed.filters):
                continue
            group = {name: keys.get(name) if name in parsed.groups else None for name in groups}
            currency = keys.get("currency") or "USD"
            row = _Row(start, end, group, currency)
            found.setdefault((start, currency, *group.values()), row).add(amounts)
    return list(found.values())


def _within(
    source: Source, start: int, end: int
) -> Iterator[tuple[Mapping[str, str | None], Amounts]]:
    """Yield what was used in a window; of an hour or a minute, its share of the day."""
    first = start - start % DAY
    for midnight in range(first, end, DAY):
        day = datetime.fromtimestamp(midnight, UTC)
        begins, ends = max(start, midnight) - midnight, min(end, midnight + DAY) - midnight
        for keys, amounts in source(day):
            part = {name: _part(value, begins, ends) for name, value in amounts.items()}
            if any(part.values()):
                yield keys, part


def _part(value: Decimal, begins: int, ends: int) -> Decimal:
    if (begins, ends) == (0, DAY):
        return value
    digits = -int(value.as_tuple().exponent)
    units = int(value.scaleb(digits))
    whole = sum(share(units, minute, DAY // 60) for minute in range(begins // 60, ends // 60))
    return Decimal(whole).scaleb(-digits)


def _usage(row: _Row) -> dict[str, object]:
    whole = {name: int(value) for name, value in row.sums.items()}
    tokens = ("uncached", "cache_read", "write_5m", "write_1h", "output")
    return {
        "usage": {
            "uncached_input_tokens": whole["uncached"],
            "cache_read_input_tokens": whole["cache_read"],
            "cache_creation": {
                "ephemeral_1h_input_tokens": whole["write_1h"],
                "ephemeral_5m_input_tokens": whole["write_5m"],
            },
            "output_tokens": whole["output"],
            "server_tool_use": {"web_search_requests": whole["web_searches"]},
            "requests": whole["requests"],
            "total_tokens": sum(whole[name] for name in tokens),
        }
    }


def _cost(row: _Row) -> dict[str, object]:
    return {
        "cost": {
            "amount": cents(row.sums["amount"]),
            "list_amount": cents(row.sums["list_amount"]),
            "currency": row.currency,
            "requests": int(row.sums["requests"]) or None,
        }
    }
