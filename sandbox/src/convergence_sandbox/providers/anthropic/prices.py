"""Public list prices of what the stand-in's organizations use.

USD per million tokens, from <https://platform.claude.com/docs/en/about-claude/pricing> as of
October 2026. The bill is computed from this table alone: it ties out with usage unless an effect
changes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

STANDARD, BATCH, PRIORITY = "standard", "batch", "priority"
SHORT, LONG = "0-200k", "200k-1M"
WEB_SEARCH = Decimal("0.01")
"""USD per search."""
CODE_EXECUTION_HOUR = Decimal("0.05")
"""USD per hour of a container beyond the free ones."""

TOKEN_TYPES = {
    "uncached": "uncached_input_tokens",
    "cache_read": "cache_read_input_tokens",
    "write_5m": "cache_creation.ephemeral_5m_input_tokens",
    "write_1h": "cache_creation.ephemeral_1h_input_tokens",
    "output": "output_tokens",
}
"""Amount of a usage row → `token_type` of a cost row."""


@dataclass(frozen=True)
class Variant:
    """One model as it is called. Without rates it is in no cost report."""

    model: str
    display_name: str
    service_tier: str = STANDARD
    context_window: str = SHORT
    rates: Mapping[str, Decimal] | None = None
    since: date = date(2025, 10, 15)
    until: date = date.max


def _at(uncached: str, output: str, *, half: bool = False) -> dict[str, Decimal]:
    """Reads cost a tenth of the input, writes 1.25 of it for 5 minutes and twice for an hour."""
    factor = Decimal("0.5") if half else Decimal(1)
    base, out = Decimal(uncached) * factor, Decimal(output) * factor
    return {
        "uncached": base,
        "cache_read": base / 10,
        "write_5m": base * Decimal("1.25"),
        "write_1h": base * 2,
        "output": out,
    }


_OPUS = ("claude-opus-4-5-20251101", "Claude Opus 4.5")
_SONNET = ("claude-sonnet-4-5-20250929", "Claude Sonnet 4.5")
_HAIKU = ("claude-haiku-4-5-20251001", "Claude Haiku 4.5")
_OPUS_SINCE = date(2025, 11, 24)

VARIANTS = (
    Variant(*_OPUS, STANDARD, rates=_at("5", "25"), since=_OPUS_SINCE),
    Variant(*_OPUS, BATCH, rates=_at("5", "25", half=True), since=_OPUS_SINCE),
    Variant(*_SONNET, STANDARD, rates=_at("3", "15")),
    Variant(*_SONNET, BATCH, rates=_at("3", "15", half=True)),
    # The beta of the long context ended on this day.
    Variant(*_SONNET, STANDARD, LONG, rates=_at("6", "22.5"), until=date(2026, 4, 30)),
    Variant(*_HAIKU, STANDARD, rates=_at("1", "5")),
    Variant(*_HAIKU, BATCH, rates=_at("1", "5", half=True)),
)
# Capacity bought ahead: its usage is reported, its price is in no report.
COMMITTED = Variant(*_HAIKU, PRIORITY)
UNPRICED = Variant("claude-sandbox-preview-20251001", "Claude Sandbox Preview")
