"""The costs endpoint: usage times public list price, exact, as line items per project and key."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal

from convergence_sandbox.providers.derive import chance
from convergence_sandbox.providers.openai import prices
from convergence_sandbox.providers.openai.prices import TokenPrice, Variant
from convergence_sandbox.providers.openai.query import BucketQuery, Dimensions
from convergence_sandbox.providers.openai.usage import UsageRow, usage

DIMENSIONS = Dimensions(
    group_by=("project_id", "user_id", "line_item", "api_key_id", "api_source"),
    filters={
        "project_ids": "project_id",
        "api_key_ids": "api_key_id",
        "line_items": "line_item",
    },
)

_MILLION = Decimal(1_000_000)
_VARIANTS: Mapping[tuple[object, object, object], Variant] = {
    (variant.model, variant.batch, variant.service_tier): variant for variant in prices.COMPLETIONS
}
_COUNTED = (
    ("web_search_calls", "num_requests", prices.WEB_SEARCH_CALL, "web search tool calls", None),
    ("file_search_calls", "num_requests", prices.FILE_SEARCH_CALL, "file search tool calls", None),
    ("audio_speeches", "characters", prices.SPEECH_CHARACTER, "tts-1, characters", "characters"),
    (
        "audio_transcriptions",
        "seconds",
        prices.TRANSCRIBED_SECOND,
        "whisper-1, duration",
        "duration_seconds",
    ),
    (
        "code_interpreter_sessions",
        "num_sessions",
        prices.CODE_INTERPRETER_SESSION,
        "code interpreter sessions",
        None,
    ),
)


@dataclass(frozen=True)
class Charge:
    """One priced amount. `unit` is None where OpenAI names none."""

    keys: dict[str, object]
    quantity: int
    unit: str | None
    amount: Decimal


def charges(seed: str, day: date) -> Iterator[Charge]:
    """Everything billed for a day. Free and unpriced usage has no charge."""
    for row in usage(seed, "completions", day):
        keys = row.keys
        variant = _VARIANTS.get((keys["model"], keys["batch"], keys["service_tier"]))
        if variant is not None and variant.price is not None:
            yield from _completion_charges(row, variant, variant.price)
    for row in usage(seed, "embeddings", day):
        model = str(row.keys["model"])
        line_item = f"{model}, input_tokens"
        yield _tokens(row, line_item, row.amounts["input_tokens"], prices.EMBEDDINGS[model])
    for endpoint, counter, price, line_item, unit in _COUNTED:
        for row in usage(seed, endpoint, day):
            quantity = row.amounts[counter]
            yield Charge(_keys(row, line_item), quantity, unit, quantity * price)


def results(seed: str, start: int, query: BucketQuery) -> list[dict[str, object]]:
    """Return the results of one daily bucket, grouped and filtered as requested."""
    day = datetime.fromtimestamp(start, tz=UTC).date()
    by_line = "line_item" in query.group_by
    return [
        _result(keys, members, by_line=by_line, as_text=chance(seed, day, *keys, percent=20))
        for keys, members in _grouped(charges(seed, day), query).items()
    ]


def _completion_charges(row: UsageRow, variant: Variant, price: TokenPrice) -> Iterator[Charge]:
    written = row.amounts["written_30m"] + row.amounts["written_12h"]
    meters = (
        ("input_tokens", row.amounts["uncached"], price.uncached),
        ("cached_input_tokens", row.amounts["cached"], price.cached),
        ("cache_write_input_tokens", written, price.cache_write),
        ("output_tokens", row.amounts["output"], price.output),
    )
    for meter, tokens, rate in meters:
        if tokens:
            yield _tokens(row, f"{variant.model}, {variant.meter}{meter}", tokens, rate)


def _tokens(row: UsageRow, line_item: str, tokens: int, rate: Decimal) -> Charge:
    return Charge(_keys(row, line_item), tokens, "tokens", tokens * rate / _MILLION)


def _keys(row: UsageRow, line_item: str) -> dict[str, object]:
    return {**row.keys, "line_item": line_item, "api_source": None}


def _grouped(
    found: Iterable[Charge], query: BucketQuery
) -> dict[tuple[tuple[str, object], ...], list[Charge]]:
    groups: dict[tuple[tuple[str, object], ...], list[Charge]] = {}
    for charge in found:
        if all(str(charge.keys[key]) in accepted for key, accepted in query.filters.items()):
            group = tuple((key, charge.keys[key]) for key in query.group_by)
            groups.setdefault(group, []).append(charge)
    return groups


def _result(
    keys: tuple[tuple[str, object], ...], members: list[Charge], *, by_line: bool, as_text: bool
) -> dict[str, object]:
    amount = sum((charge.amount for charge in members), Decimal(0))
    values = dict(keys)
    result: dict[str, object] = {
        "object": "organization.costs.result",
        # Documented as a number, seen as a string in the field: both happen here.
        "amount": {"value": f"{amount:.18f}" if as_text else amount, "currency": "usd"},
        **{key: values.get(key) for key in DIMENSIONS.group_by},
    }
    if by_line:
        result["quantity"] = sum(charge.quantity for charge in members)
        result["quantity_unit"] = members[0].unit
    return result
