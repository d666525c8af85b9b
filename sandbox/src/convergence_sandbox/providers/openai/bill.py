"""OpenAI's bill: usage times public list price, exact, and the effects that it can have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import NamedTuple

from convergence_sandbox.providers.bills.kind import (
    Context,
    EffectKind,
    EffectStage,
    change_lines,
)
from convergence_sandbox.providers.bills.kinds import list_kinds
from convergence_sandbox.providers.bills.line import BillLine, BillSource, Quantity
from convergence_sandbox.providers.bills.parameter import decimal_parameter, text_parameter
from convergence_sandbox.providers.bills.pricing import AS_LINE, SHOWN_AS
from convergence_sandbox.providers.openai import prices
from convergence_sandbox.providers.openai.prices import TokenPrice, Variant
from convergence_sandbox.providers.openai.usage import UsageRow, build_usage, projects

_MILLION = Decimal(1_000_000)
_VARIANTS: Mapping[tuple[object, object, object], Variant] = {
    (variant.model, variant.batch, variant.service_tier): variant for variant in prices.COMPLETIONS
}


class _Counter(NamedTuple):
    """What is billed by count: an amount of an endpoint's usage, in USD for one."""

    endpoint: str
    amount: str
    price: Decimal
    meter: str
    model: str | None = None
    unit: str | None = None


_COUNTERS = (
    _Counter("web_search_calls", "num_requests", prices.WEB_SEARCH_CALL, "web search tool calls"),
    _Counter(
        "file_search_calls", "num_requests", prices.FILE_SEARCH_CALL, "file search tool calls"
    ),
    _Counter(
        "audio_speeches", "characters", prices.SPEECH_CHARACTER, "characters", "tts-1", "characters"
    ),
    _Counter(
        "audio_transcriptions",
        "seconds",
        prices.TRANSCRIBED_SECOND,
        "duration",
        "whisper-1",
        "duration_seconds",
    ),
    _Counter(
        "code_interpreter_sessions",
        "num_sessions",
        prices.CODE_INTERPRETER_SESSION,
        "code interpreter sessions",
    ),
)
# The words of real line items, as client code on GitHub parses them. `batch | ` is by analogy.
_OBSERVED = {
    "input_tokens": "input",
    "cached_input_tokens": "cached input",
    "cache_write_input_tokens": "cache writes",
    "output_tokens": "output",
}
_NOBODY: Mapping[str, None] = dict.fromkeys(("project_id", "user_id", "api_key_id"))


def price_usage(seed: str, day: date) -> Iterator[BillLine]:
    """Everything billed for a day. Free and unpriced usage has no line."""
    for at, row in enumerate(build_usage(seed, "completions", day)):
        keys = row.keys
        variant = _VARIANTS.get((keys["model"], keys["batch"], keys["service_tier"]))
        if variant is not None and variant.price is not None:
            yield from _price_completion(row, variant, variant.price, f"completions/{at}")
    for at, row in enumerate(build_usage(seed, "embeddings", day)):
        model = str(row.keys["model"])
        rate = prices.EMBEDDINGS[model]
        tokens = row.amounts["input_tokens"]
        line = _make_token_line(row, model, "input_tokens", tokens=tokens, rate=rate)
        yield replace(line, measure="uncached", row=f"embeddings/{at}", input_rate=rate)
    for one in _COUNTERS:
        for row in build_usage(seed, one.endpoint, day):
            quantity = row.amounts[one.amount]
            yield _make_row_line(
                row, one.model, one.meter, quantity=quantity, price=one.price, unit=one.unit
            )


def _price_completion(
    row: UsageRow, variant: Variant, price: TokenPrice, identity: str
) -> Iterator[BillLine]:
    amounts = row.amounts
    written = amounts["written_30m"] + amounts["written_12h"]
    meters = (
        ("input_tokens", "uncached", amounts["uncached"], price.uncached),
        ("cached_input_tokens", "cached", amounts["cached"], price.cached),
        ("cache_write_input_tokens", "cache_write", written, price.cache_write),
        ("output_tokens", "output", amounts["output"], price.output),
    )
    for meter, measure, tokens, rate in meters:
        if tokens:
            name = f"{variant.meter}{meter}"
            line = _make_token_line(row, variant.model, name, tokens=tokens, rate=rate)
            yield replace(
                line,
                measure=measure,
                row=identity,
                input_rate=price.uncached,
                long_writes=amounts["written_12h"] if measure == "cache_write" else 0,
            )


def _make_token_line(
    row: UsageRow, model: str, meter: str, *, tokens: int, rate: Decimal
) -> BillLine:
    """Return the line of tokens at a rate in USD per million."""
    price = rate / _MILLION
    return _make_row_line(row, model, meter, quantity=tokens, price=price, unit="tokens")


def _make_row_line(
    row: UsageRow,
    model: str | None,
    meter: str,
    *,
    quantity: int,
    price: Decimal,
    unit: str | None,
) -> BillLine:
    amount = quantity * price
    keys = {**row.keys, "api_source": None}
    return _name_line(BillLine(keys, model, meter, amount, amount, quantity, unit))


def _name_line(line: BillLine) -> BillLine:
    """Return the line with the text that its model and meter make."""
    text = line.meter if line.model is None else f"{line.model}, {line.meter}"
    return replace(line, keys={**line.keys, "line_item": text})


def _add_note(line: BillLine, note: str) -> BillLine:
    """Return the line with a note at its end, as in `gpt-5.5, input, long context`."""
    return _name_line(replace(line, meter=f"{line.meter}, {note}"))


def _rename_model(line: BillLine, model: str) -> BillLine:
    return _name_line(replace(line, model=model))


def _make_line(
    seed: str,
    *,
    model: str | None,
    meter: str,
    quantity: Quantity | None,
    unit: str | None,
    amount: Decimal,
) -> BillLine:
    keys = {**_NOBODY, "project_id": projects(seed)[0], "api_source": None}
    return _name_line(BillLine(keys, model, meter, amount, amount, quantity, unit))


def _add_images(lines: Sequence[BillLine], context: Context) -> list[BillLine]:
    added = [
        _make_row_line(
            row,
            str(row.keys["model"]),
            "images",
            quantity=row.amounts["images"],
            price=context.number("usd_per_image"),
            unit="images",
        )
        for row in build_usage(context.seed, "images", context.day)
    ]
    return [*lines, *filter(context.touches, added)]


def _add_storage(lines: Sequence[BillLine], context: Context) -> list[BillLine]:
    stored = context.number("gibibytes")
    amount = stored * context.number("usd_per_gibibyte_day")
    added = [
        _name_line(
            BillLine(
                {**_NOBODY, "project_id": project_id, "api_source": None},
                None,
                "file search storage",
                amount,
                amount,
                stored * 24,
                "gibibyte_hours",
            )
        )
        for project_id in projects(context.seed)
    ]
    return [*lines, *added]


def _add_credit(lines: Sequence[BillLine], context: Context) -> list[BillLine]:
    amount = -context.number("amount")
    keys = {**_NOBODY, "api_source": None}
    return [*lines, _name_line(BillLine(keys, None, context.text("meter"), amount, amount))]


def _price_long_writes(lines: Sequence[BillLine], context: Context) -> list[BillLine]:
    found = []
    for line in lines:
        if not (line.long_writes and context.touches(line)):
            found.append(line)
            continue
        part = line.take(line.long_writes)
        amount = line.long_writes * line.input_rate * context.number("input_factor") / _MILLION
        billed = replace(part, amount=amount, list_amount=amount, long_writes=0)
        rest = replace(line.without(part), long_writes=0)
        if context.text("shown_as") == AS_LINE:
            found += [one for one in (rest, _add_note(billed, "12h")) if one.quantity]
        else:
            found.append(
                replace(
                    rest,
                    quantity=line.quantity,
                    amount=rest.amount + amount,
                    list_amount=rest.list_amount + amount,
                )
            )
    return found


def _observe_name(line: BillLine, _context: Context) -> list[BillLine]:
    meter, tier = line.meter, ""
    for name in (prices.PRIORITY, prices.FLEX, prices.BATCH):
        if meter.startswith(f"{name}_"):
            meter, tier = meter.removeprefix(f"{name}_"), f"{name} | "
    first, *notes = meter.split(", ")
    observed = ", ".join([_OBSERVED.get(first, first), *notes])
    text = f"{tier}{line.model}, {observed}"
    return [replace(line, meter=f"{tier}{observed}", keys={**line.keys, "line_item": text})]


_KINDS = (
    EffectKind(
        "images",
        EffectStage.CONTENT,
        "Images are billed, one price for each; usage counts them.",
        _add_images,
        (decimal_parameter("usd_per_image", str(prices.IMAGE), low="0"),),
    ),
    EffectKind(
        "vector_storage",
        EffectStage.CONTENT,
        "Each project stores `gibibytes` of vectors above the free one.",
        _add_storage,
        (
            decimal_parameter("gibibytes", "12.5", low="0"),
            decimal_parameter("usd_per_gibibyte_day", str(prices.GIBIBYTE_DAY), low="0"),
        ),
    ),
    EffectKind(
        "credit",
        EffectStage.CONTENT,
        "A negative line of no project, without a quantity, each day.",
        _add_credit,
        (
            decimal_parameter("amount", "25", low="0"),
            text_parameter("meter", "promotional credit"),
        ),
    ),
    EffectKind(
        "observed_names",
        EffectStage.NAME,
        "Line items of tokens as seen in the field: `priority | gpt-5.5, cached input`; no amount.",
        change_lines(_observe_name),
        tokens_only=True,
    ),
    EffectKind(
        "long_cache_writes",
        EffectStage.PRICE,
        "Tokens kept for 12 hours cost `input_factor` times the price of uncached input.",
        _price_long_writes,
        (decimal_parameter("input_factor", "2", low="0"), SHOWN_AS),
        tokens_only=True,
    ),
)

BILL = BillSource(
    name="openai",
    base_lines=price_usage,
    add_note=_add_note,
    rename_model=_rename_model,
    make_line=_make_line,
    sub_account="project_id",
    kinds=list_kinds(_KINDS),
)
