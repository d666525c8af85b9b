"""What OpenAI usage costs, worked out without any code or price of the project.

Rates come from genai-prices' own data, at base tier: a daily row may not be priced by tiers that
depend on the size of a single request.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import httpx
from genai_prices import Usage, calc_price
from genai_prices.types import TieredPrices

GROUPS = ("project_id", "user_id", "api_key_id", "model", "batch", "service_tier", "api_source")
NANO = Decimal("0.000000001")
COUNTED: dict[str, tuple[str | None, str, str]] = {
    "web_search_calls": ("web_search", "num_requests", "0.01"),
    "file_search_calls": ("file_search", "num_requests", "0.0025"),
    "code_interpreter_sessions": ("code_interpreter", "num_sessions", "0.03"),
    "audio_speeches": (None, "characters", "0.000015"),
    "audio_transcriptions": (None, "seconds", "0.0001"),
    "moderations": (None, "input_tokens", "0"),
}
"""Endpoint → the tool, or None where a model is named; what is counted; USD for one.

From https://developers.openai.com/api/docs/pricing, read in October 2026.
"""
ENDPOINTS = {
    "completions": GROUPS,
    "embeddings": GROUPS[:4],
    "moderations": GROUPS[:4],
    "audio_speeches": GROUPS[:4],
    "audio_transcriptions": GROUPS[:4],
    "code_interpreter_sessions": GROUPS[:1],
    "file_search_calls": GROUPS[:3],
    "web_search_calls": GROUPS[:4],
}


@dataclass(frozen=True)
class Rates:
    """USD per million tokens."""

    fresh: Decimal
    cached: Decimal
    written: Decimal
    output: Decimal


def fetch_usage(base_url: str, key: str, first: date, last: date) -> Iterator[dict[str, Any]]:
    """Every usage row of a range of UTC days, tagged with its `day`, `endpoint` and `model`."""
    for endpoint, groups in ENDPOINTS.items():
        tool = COUNTED.get(endpoint, (None,))[0]
        query: dict[str, Any] = {
            "start_time": _seconds(first),
            "end_time": _seconds(last + timedelta(days=1)),
            "bucket_width": "1d",
            "limit": 31,
            "group_by": list(groups),
        }
        while True:
            answer = httpx.get(
                f"{base_url}/organization/usage/{endpoint}",
                params=query,
                headers={"Authorization": f"Bearer {key}"},
                timeout=30,
                trust_env=False,
            )
            answer.raise_for_status()
            page = answer.json()
            for bucket in page["data"]:
                day = datetime.fromtimestamp(bucket["start_time"], UTC).date()
                for row in bucket["results"]:
                    told = {**row, "day": day, "endpoint": endpoint}
                    yield told | ({"model": tool} if tool else {})
            if not page["has_more"]:
                break
            query["page"] = page["next_page"]


def price(row: dict[str, Any]) -> Decimal:
    """Cost of one usage row in USD, rounded once, half away from zero, to 9 decimals.

    Raises:
        LookupError: genai-prices does not know the model.
    """
    if row["endpoint"] in COUNTED:
        _, counted, rate = COUNTED[row["endpoint"]]
        return (Decimal(rate) * int(row[counted])).quantize(NANO, ROUND_HALF_UP)
    rates = _rates(row)
    cached = row.get("input_cached_tokens") or 0
    written = row.get("input_cache_write_tokens") or 0
    fresh = row["input_tokens"] - cached - written
    output = row.get("output_tokens") or 0
    parts: Decimal = (
        fresh * rates.fresh
        + cached * rates.cached
        + written * rates.written
        + output * rates.output
    )
    return (parts / 1_000_000).quantize(NANO, ROUND_HALF_UP)


def _rates(row: dict[str, Any]) -> Rates:
    context: dict[str, str] = {}
    if row.get("batch"):
        context["processing"] = "batch"
    elif (tier := row.get("service_tier")) in ("flex", "priority"):
        context["service_tier"] = tier
    is_embedding = "output_tokens" not in row
    found = calc_price(
        Usage(input_tokens=1, output_tokens=0 if is_embedding else 1),
        model_ref=row["model"],
        provider_id="openai",
        genai_request_timestamp=datetime.combine(row["day"], datetime.min.time(), UTC),
        price_context=context,
    ).model_price
    fresh = _base(found.input_mtok)
    return Rates(
        fresh=fresh,
        cached=_base(found.cache_read_mtok) if found.cache_read_mtok is not None else fresh,
        written=_base(found.cache_write_mtok) if found.cache_write_mtok is not None else fresh,
        output=Decimal(0) if is_embedding else _base(found.output_mtok),
    )


def _base(rate: Decimal | TieredPrices | None) -> Decimal:
    if rate is None:
        raise LookupError("no rate")
    return Decimal(str(rate.base if isinstance(rate, TieredPrices) else rate))


def _seconds(day: date) -> int:
    return int(datetime.combine(day, datetime.min.time(), UTC).timestamp())
