"""The older reports: buckets of results, `usage_report/messages` and `cost_report`.

The default workspace has no id here, and cost has no keys but workspace and description.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

from convergence_sandbox.providers.anthropic.bill import cents
from convergence_sandbox.providers.anthropic.query import (
    DAY,
    WIDTHS,
    InvalidQueryError,
    QueryParams,
    passes,
    rfc3339,
)
from convergence_sandbox.providers.anthropic.usage import build_usage, default_workspace
from convergence_sandbox.providers.bills.book import BillReader
from convergence_sandbox.providers.bills.line import BillLine, Keys
from convergence_sandbox.providers.derive import share

FAST_MODE_BETA = "fast-mode-2026-02-01"
USAGE_GROUPS = (
    "account_id",
    "api_key_id",
    "context_window",
    "inference_geo",
    "model",
    "service_account_id",
    "service_tier",
    "speed",
    "workspace_id",
)
COST_GROUPS = ("workspace_id", "description")
_FILTERS = {
    "api_key_ids": "api_key_id",
    "context_window": "context_window",
    "inference_geos": "inference_geo",
    "models": "model",
    "service_tiers": "service_tier",
    "speeds": "speed",
    "workspace_ids": "workspace_id",
}
_LIMITS = {"1m": (60, 1_440), "1h": (24, 168), "1d": (7, 31)}
_DESCRIBED = (
    *("context_window", "cost_type", "description", "inference_geo"),
    *("model", "service_tier", "token_type"),
)
_COMMON = {"starting_at", "ending_at", "bucket_width", "limit", "page", "group_by"}
Result = dict[str, object]
Page = dict[str, object]


@dataclass(frozen=True)
class _Grouped:
    keys: dict[str, str | None]
    sums: dict[str, int]


def usage_report(
    seed: str, pairs: Sequence[tuple[str, str]], *, betas: set[str], now: datetime
) -> Page:
    """`GET /v1/organizations/usage_report/messages`."""
    params = QueryParams.read(pairs, accepted=_COMMON | set(_FILTERS))
    groups = params.several("group_by", USAGE_GROUPS)
    fast = FAST_MODE_BETA in betas
    if not fast and ("speed" in groups or "speeds" in params.values):
        raise InvalidQueryError(f"group_by: speed needs the beta {FAST_MODE_BETA}")
    filters = {key: params.values[name] for name, key in _FILTERS.items() if name in params.values}
    width = WIDTHS[params.one_of("bucket_width", tuple(WIDTHS), default="1d") or "1d"]

    def results(start: int) -> list[Result]:
        rows = _summed(_slice(seed, start, width, filters), groups)
        return [_usage_result(row, fast=fast) for row in rows]

    return _page(params, results, now=now)


def cost_report(
    seed: str, pairs: Sequence[tuple[str, str]], *, now: datetime, read_bill: BillReader
) -> Page:
    """`GET /v1/organizations/cost_report`: whole days only."""
    params = QueryParams.read(pairs, accepted=_COMMON)
    params.one_of("bucket_width", ("1d",), default="1d")
    groups = params.several("group_by", COST_GROUPS)

    def results(start: int) -> list[Result]:
        day = datetime.fromtimestamp(start, UTC).date()
        found: dict[tuple[tuple[str | None, ...], str], list[BillLine]] = {}
        for line in read_bill([day], counts=bool(groups))[day]:
            keys = _null_default(seed, line.keys)
            group = tuple(keys.get(name) for name in _known(groups))
            found.setdefault((group, line.currency), []).append(line)
        return [_cost_result(keys, groups, members) for (keys, _), members in found.items()]

    return _page(params, results, now=now)


def _known(groups: Sequence[str]) -> tuple[str, ...]:
    """Return the keys of a cost row: a description comes with all that it describes."""
    described = _DESCRIBED if "description" in groups else ()
    return (*(("workspace_id",) if "workspace_id" in groups else ()), *described)


def _cost_result(
    keys: tuple[str | None, ...], groups: Sequence[str], members: Sequence[BillLine]
) -> Result:
    amount = sum((line.amount for line in members), Decimal(0))
    params = dict(zip(_known(groups), keys, strict=True))
    named = {name: params.get(name) for name in (*_DESCRIBED, "workspace_id")}
    return {"amount": cents(amount), "currency": members[0].currency, **named}


def _usage_result(row: _Grouped, *, fast: bool) -> Result:
    sums = row.sums
    result: Result = {
        "uncached_input_tokens": sums["uncached"],
        "cache_creation": {
            "ephemeral_1h_input_tokens": sums["write_1h"],
            "ephemeral_5m_input_tokens": sums["write_5m"],
        },
        "cache_read_input_tokens": sums["cache_read"],
        "output_tokens": sums["output"],
        "server_tool_use": {"web_search_requests": sums["web_searches"]},
        **{name: row.keys.get(name) for name in USAGE_GROUPS if name != "speed"},
    }
    return {**result, "speed": row.keys.get("speed")} if fast else result


def _slice(
    seed: str, start: int, width: int, filters: dict[str, Sequence[str]]
) -> Iterable[_Grouped]:
    """Return the rows of a bucket. Parts of a day add up to the day."""
    parts, index = DAY // width, start % DAY // width
    for row in build_usage(seed, datetime.fromtimestamp(start, UTC).date()):
        keys = _null_default(seed, row.keys)
        amounts = {name: share(value, index, parts) for name, value in row.amounts.items()}
        if any(amounts.values()) and passes(keys, filters):
            yield _Grouped(keys, amounts)


def _summed(rows: Iterable[_Grouped], groups: Sequence[str]) -> list[_Grouped]:
    found: dict[tuple[str | None, ...], _Grouped] = {}
    for row in rows:
        keys = {name: row.keys.get(name) for name in groups}
        kept = found.setdefault(tuple(keys.values()), _Grouped(keys, {}))
        for name, value in row.sums.items():
            kept.sums[name] = kept.sums.get(name, 0) + value
    return list(found.values())


def _null_default(seed: str, keys: Keys) -> dict[str, str | None]:
    if keys.get("workspace_id") == default_workspace(seed):
        return {**keys, "workspace_id": None}
    return dict(keys)


def _page(params: QueryParams, results: Callable[[int], list[Result]], *, now: datetime) -> Page:
    name = params.one_of("bucket_width", tuple(WIDTHS), default="1d") or "1d"
    width, (default, high) = WIDTHS[name], _LIMITS[name]
    limit = params.integer("limit", default=default, high=high)
    start, end = params.moment("starting_at"), params.moment("ending_at", default=now)
    if end <= start:
        raise InvalidQueryError("ending_at: must be after starting_at")
    begins = params.position() or start - start % width
    after = begins + limit * width
    buckets = [
        {
            "starting_at": rfc3339(one),
            "ending_at": rfc3339(one + width),
            "results": results(one),
        }
        for one in range(begins, min(after, end), width)
    ]
    more = after < end
    return {"data": buckets, "has_more": more, "next_page": params.token(after) if more else None}
